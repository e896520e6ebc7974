"""What `spoe-guard check` prints: everything, only the differences, and both as JSON."""

import json
import re

import pytest

from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.settings import ConfigError, effective, load
from tests.peers import ROOT
from tests.running import spoe_guard

CHOSEN = "mode: observe\nroutes:\n- name: waf\n  redispatch: unsent\n  policy: {late_ack: pass, runt_frame: drop}\n"


def test_only_what_differs_is_shown_with_default_and_origin(from_yaml):
    lines = list(effective.differences(from_yaml(CHOSEN)))
    rows = [line.split() for line in lines[: lines.index("")] if line] if "" in lines else [line.split() for line in lines[:3]]
    told = {row[0]: row[1:4] for row in rows}
    assert told["mode"] == ["observe", "default:", "enforce"]
    assert told["routes[0].name"] == ["waf", "default:", "default"]
    assert told["routes[0].policy.late_ack"] == ["pass", "default:", "drop"]
    assert "routes[0].policy.runt_frame" not in told  # chosen, and the default all the same
    assert "routes[0].redispatch" not in told


def test_nothing_differs_where_nothing_was_set():
    assert next(effective.differences(load())) == "all settings have their defaults"


def test_what_follows_from_a_profile_differs_too(from_yaml):
    text = "\n".join(effective.differences(from_yaml("routes: [{hello: {profile: negasus}}]")))
    assert "routes[0].hello.keys     exact    default: as-is  profile negasus" in text


def test_the_policy_in_effect_names_each_anomaly_once(from_yaml):
    [section] = "\n".join(effective.differences(from_yaml(CHOSEN))).split("\nroutes[0] (waf): ")[1:]
    text = " ".join(section.partition("close, from HAProxy:")[0].split())
    words = text.replace(",", "").split()
    names = [word.removesuffix("*") for word in words if word.removesuffix("*") in {each.value for each in Anomaly}]
    assert sorted(names) == sorted(each.value for each in Anomaly)
    assert [word for word in words if word.endswith(("_ack*", "frame*"))] == ["late_ack*", "runt_frame*"]
    assert text.index("late_ack*") < text.index("drop ") < text.index("runt_frame*")
    assert max(map(len, section.splitlines())) <= 120


def test_what_is_done_to_haproxys_own_frames_is_told_where_it_differs():
    lines = list(effective.differences(load()))
    assert "  close, from HAProxy: garbled_stream, frame_before_hello, hello_malformed, hello_version" in lines
    assert "  pass, to HAProxy up to 3.0: empty_ack" in lines


def test_the_json_has_every_setting_with_its_default_and_origin(from_yaml):
    loaded = from_yaml(CHOSEN + "  agent: [a:1, b:2]\nshare_listen: true\n")
    told = json.loads(effective.document(loaded, ["a warning"], diff=False))
    assert list(told) == ["format", "ok", "settings", "routes", "warnings"]
    assert (told["format"], told["ok"], told["warnings"]) == (1, True, ["a warning"])
    assert [row["key"] for row in told["settings"]] == [key for key, _, _ in loaded.rows()]
    settings = {row["key"]: row for row in told["settings"]}
    assert settings["share_listen"] | {"origin": ""} == {"key": "share_listen", "value": True, "default": False, "origin": ""}
    assert settings["routes[0].agent"]["value"] == ["a:1", "b:2"]
    assert settings["routes[0].limits.connections"] == {
        "key": "routes[0].limits.connections", "value": 4096, "default": 4096, "origin": "default",
    }  # fmt: skip
    [route] = told["routes"]
    assert route["name"] == "waf"
    assert route["hello_changes"] == ["none: in observe mode not a byte is changed"]
    assert list(route["policy"]) == [each.value for each in Anomaly]
    assert route["policy"]["late_ack"] == {"agent": "pass", "agent_to_haproxy_up_to_3_0": "pass", "haproxy": "pass"}
    assert route["policy"]["garbled_stream"]["haproxy"] == "close"
    assert route["policy"]["empty_ack"]["agent_to_haproxy_up_to_3_0"] == "pass"


def test_of_the_settings_the_json_has_only_the_differences_if_asked(from_yaml):
    told = json.loads(effective.document(from_yaml(CHOSEN), [], diff=True))
    assert {row["key"] for row in told["settings"]} == {"mode", "routes[0].name", "routes[0].policy.late_ack"}
    assert len(told["routes"][0]["policy"]) == len(Anomaly)


def test_settings_that_cannot_be_used_are_json_too(from_yaml):
    with pytest.raises(ConfigError) as error:
        from_yaml("mode: watch\n")
    told = json.loads(effective.refused(error.value))
    assert (told["format"], told["ok"], told["unnamed"]) == (1, False, 0)
    [problem] = told["problems"]
    assert (problem["key"], problem["message"]) == ("mode", "allowed: enforce, observe")
    assert problem["text"] == str(error.value.problems[0])


def test_on_the_command_line_json_is_all_that_is_printed(tmp_path):
    (tmp_path / "guard.yaml").write_text("mode: watch\n")
    wrong = spoe_guard("check", "--json", "--config", "guard.yaml", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr) == (2, "")
    assert json.loads(wrong.stdout)["problems"][0]["origin"] == "guard.yaml:1"
    right = spoe_guard("check", "--json", "--diff", "--mode", "observe")
    assert (right.returncode, right.stderr) == (0, "")
    told = json.loads(right.stdout)
    assert [(row["key"], row["origin"]) for row in told["settings"]] == [("mode", "flag --mode")]


def test_on_the_command_line_the_differences_end_with_warnings_and_ok():
    done = spoe_guard("check", "--diff", settings={"SPOE_GUARD_ROUTES__0__LINKS__MAX": "2"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("routes[0].links.max  2  default: 1  environment SPOE_GUARD_ROUTES__0__LINKS__MAX\n")
    assert "\nwarnings\n  routes[0].links.max: no effect" in done.stdout
    assert done.stdout.endswith("\nOK. Addresses were checked for syntax only.\n")


def paths(value, path=""):
    """Yield where each value of a JSON document is, with [] for any index and .* for any anomaly."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from paths(each, f"{path}.{'*' if path.endswith('policy') else key}")
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for each in value:
            yield from paths(each, f"{path}[]")
    if path:
        yield path.removeprefix(".")


def test_the_page_on_the_json_names_its_keys_and_no_others(from_yaml):
    documented = re.findall(r"^\| `([\w.\[\]*]+)` \|", (ROOT / "docs/reference/check-json.md").read_text(), re.MULTILINE)
    with pytest.raises(ConfigError) as error:
        from_yaml("mode: watch\n")
    found = {*paths(json.loads(effective.document(load(), [], diff=False))), *paths(json.loads(effective.refused(error.value)))}
    objects = {"settings[]", "routes[]", "problems[]", "routes[].policy.*"}
    assert set(documented) == found - objects
