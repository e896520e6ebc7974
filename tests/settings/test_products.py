"""A product is a set of ordinary settings by release, explicit settings override it, and what is none is refused."""

import re
from pathlib import Path

import pytest
import yaml

from spoe_guard.settings import load, warnings
from spoe_guard.settings.model import Unanswered
from spoe_guard.settings.problems import dotted
from spoe_guard.settings.products import PRODUCTS, settings
from spoe_guard.settings.profiles import PROFILES
from tests.running import spoe_guard

EXAMPLE = Path(__file__).parents[2] / "config" / "spoe-guard.yaml"
ALL = [(name, release) for name, product in PRODUCTS.items() for release in product.releases]
IDS = [f"{name}@{release.version}" for name, release in ALL]


def written(name, release):
    """Name and release as in a file."""
    return f"{name}@{release.version}" if release.version else name


def below_route(loaded):
    """Value and origin by key, as `check` shows them."""
    return {key.removeprefix("routes[0]."): (value, origin) for key, value, origin in loaded.rows()}


@pytest.mark.parametrize(("name", "release"), ALL, ids=IDS)
def test_a_product_is_as_good_as_its_settings_written_by_hand(from_yaml, name, release):
    by_hand = {}
    for (*sections, key), value in settings(PRODUCTS[name], release):
        below = by_hand
        for section in sections:
            below = below.setdefault(section, {})
        below[key] = value
    same = from_yaml(yaml.safe_dump({"routes": [by_hand]})).settings.model_dump()
    same["routes"][0]["profile"] = written(name, release)
    assert from_yaml(f"routes: [{{profile: {written(name, release)}}}]").settings.model_dump() == same


@pytest.mark.parametrize(("name", "release"), ALL, ids=IDS)
def test_check_shows_which_product_each_value_is_from(from_yaml, name, release):
    rows = below_route(from_yaml(f"routes: [{{profile: {written(name, release)}}}]"))
    origins = {dotted(key): rows[dotted(key)][1] for key, _ in settings(PRODUCTS[name], release)}
    assert set(origins.values()) == {f"profile {written(name, release)}"}
    assert {rows[f"{section}.{key}"][1] for section, keys in PROFILES[release.library].items() for key in keys} <= {
        f"profile {release.library}"
    }
    assert rows["timeouts.hello"][1] == "haproxy.timeout_hello"


@pytest.mark.parametrize(("name", "product"), PRODUCTS.items(), ids=PRODUCTS)
def test_without_a_release_it_is_the_newest_and_check_says_which(from_yaml, name, product):
    alone, newest = from_yaml(f"routes: [{{profile: {name}}}]"), written(name, product.releases[-1])
    assert below_route(alone)["haproxy.timeout_hello"] == (product.releases[-1].timeout_hello, f"profile {newest}")
    told = from_yaml(f"routes: [{{profile: {newest}}}]").settings.model_dump()
    told["routes"][0]["profile"] = name
    assert alone.settings.model_dump() == told


@pytest.mark.parametrize(
    ("short", "library"),
    [
        ("coraza@0.1", "criteo"),
        ("coraza@0.2", "dropmore"),
        ("coraza@0.7", "dropmore"),
        ("crowdsec@0.2", "negasus"),
        ("crowdsec@0", "dropmore"),
        ("crowdsec@0.3", "dropmore"),
        ("spoe-auth@1.4", "criteo"),
        ("spoe-auth@1", "negasus"),
    ],
)
def test_a_release_that_is_cut_short_is_the_newest_of_those(from_yaml, short, library):
    assert below_route(from_yaml(f"routes: [{{profile: {short}}}]"))["hello.profile"] == (library, f"profile {short}")


@pytest.mark.parametrize("name", [name for name, product in PRODUCTS.items() if product.firewall])
@pytest.mark.parametrize("told", ["", ", haproxy: {set_on_error: oops}", ", haproxy: {set_on_error: null}", ", unanswered: tell"])
def test_no_firewalls_profile_fails_open(from_yaml, name, told):
    for release in PRODUCTS[name].releases:
        route = from_yaml(f"routes: [{{profile: {written(name, release)}{told}}}]").settings.routes[0]
        assert route.unanswered.kind in ("set", "tell")
        assert route.unanswered.name in ("", route.haproxy.set_on_error)


def test_coraza_and_crowdsec_fail_a_request_by_their_own_variable(from_yaml):
    for name in ("coraza", "crowdsec"):
        route = from_yaml(f"routes: [{{profile: {name}}}]").settings.routes[0]
        assert (route.unanswered, route.redispatch) == (Unanswered("set", "error"), "unanswered")


def test_what_is_set_by_hand_comes_before_the_product(from_yaml):
    text = "profile: crowdsec, redispatch: unsent, haproxy: {timeout_hello: 1s, set_on_error: null}, hello: {profile: none}"
    environ = {"SPOE_GUARD_ROUTES__0__TIMEOUTS__CONNECT": "500ms"}
    loaded = from_yaml(f"routes: [{{{text}}}]", environ)
    [route] = loaded.settings.routes
    assert (route.redispatch, route.unanswered, route.hello.profile) == ("unsent", Unanswered("tell"), "none")
    assert (route.timeouts.hello, route.timeouts.connect, route.hello.max_frame_size) == (0.98, 0.5, None)
    assert {origin for key, (_, origin) in below_route(loaded).items() if origin.startswith("profile")} == set()


def test_a_product_fills_in_beside_what_is_said_of_its_sections(from_yaml):
    text = "profile: coraza, haproxy: {timeout_processing: 5s}, hello: , links: {max: 3}"
    [route] = from_yaml(f"routes: [{{{text}}}]").settings.routes
    assert (route.answer_deadline, route.unanswered, route.hello.max_frame_size) == (4.9, Unanswered("set", "error"), 65535)
    assert (route.links.max, route.links.in_flight) == (3, 1)


def test_each_route_has_its_own_product_and_the_environment_may_choose_it(from_yaml):
    text = "routes: [{profile: coraza}, {name: b, listen: 127.0.0.1:7, profile: coraza}, {name: c, listen: 127.0.0.1:8}]"
    routes = from_yaml(text, {"SPOE_GUARD_ROUTES__1__PROFILE": "crowdsec@0.2.1"}).settings.routes
    assert [(route.profile, route.hello.profile) for route in routes] == [
        ("coraza", "dropmore"),
        ("crowdsec@0.2.1", "negasus"),
        (None, "none"),
    ]


def test_a_product_says_nothing_of_timeout_processing(from_yaml):
    for name, release in ALL:
        route = from_yaml(f"routes: [{{profile: {written(name, release)}}}]").settings.routes[0]
        assert (route.haproxy.timeout_processing, route.answer_deadline, route.links.park) == (None, None, None)


NONE = ["corazza", "coraza@", "'@'", "coraza @0.7", "Coraza", "none", "[coraza]", "5", "true", "{coraza: 0.7}", "''"]


@pytest.mark.parametrize("value", NONE)
def test_what_is_no_product_is_refused_with_those_there_are(problems, value):
    [message] = problems(f"routes: [{{profile: {value}}}]")
    assert message.startswith("routes[0].profile")
    assert all(name in message for name in (PRODUCTS if "release of" not in message else ("0.1-experimental", "0.7.2")))


@pytest.mark.parametrize("version", ["0.8", "0.7.3", "0.70", "0.", "7", "0.7.2.1", "latest", "v0.7.2", "0.7@1"])
def test_a_release_that_is_not_known_is_refused_with_those_that_are(problems, version):
    known = ", ".join(release.version for release in PRODUCTS["coraza"].releases)
    message = f"no such release of coraza is known; known: {known}; coraza alone is the newest"
    assert problems(f"routes: [{{profile: coraza@{version}}}]") == [f"routes[0].profile: 'coraza@{version}' (FILE:1): {message}"]


def test_an_agent_without_releases_takes_none(problems):
    [message] = problems("routes: [{profile: modsecurity@2.9}]")
    assert message.endswith("modsecurity has no releases: write modsecurity alone")


@pytest.mark.parametrize("value", ["coraza", "crowdsec@0.2.1", "coraza@9"])
def test_a_product_below_hello_is_refused_with_where_it_belongs(problems, value):
    [message] = problems(f"routes: [{{hello: {{profile: {value}}}}}]")
    assert message == (
        f"routes[0].hello.profile: '{value}' (FILE:1): "
        f"expected a library; {value} is a product: write it as the route's `profile`, not below `hello`"
    )


def test_a_library_as_a_product_is_refused_with_where_it_belongs(problems):
    [message] = problems("routes: [{profile: dropmore}]")
    assert message.endswith("as in coraza@0.7; dropmore is a library: set hello.profile")


def test_a_wrong_value_beside_a_product_is_the_one_that_is_told(problems):
    for text in ("hello: 5", "haproxy: {set_on_error: a-b}", "links: 5"):
        [message] = problems(f"routes: [{{profile: coraza, {text}}}]")
        assert message.startswith(f"routes[0].{text.partition(':')[0]}")
    assert problems("routes: [5]")[0].startswith("routes[0]")


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("profile: modsecurity", True),
        ("profile: modsecurity, haproxy: {set_on_error: error}", False),
        ("profile: modsecurity, unanswered: {set: error}", False),
        ("profile: coraza", False),
        ("profile: coraza, haproxy: {set_on_error: null}", True),
        ("profile: spoe-auth", False),
        ("unanswered: tell", False),
    ],
)
def test_a_firewall_without_a_variable_for_errors_is_warned_of(from_yaml, text, warned):
    found = [note for note in warnings(from_yaml(f"routes: [{{{text}}}]").settings) if "set_on_error" in note]
    assert bool(found) is warned
    assert all(note.startswith("routes[0].haproxy.set_on_error: not known.") for note in found)


def test_with_timeout_processing_said_a_product_has_nothing_to_warn_of(from_yaml):
    for name in ("coraza", "crowdsec", "spoe-auth"):
        assert warnings(from_yaml(f"routes: [{{profile: {name}, haproxy: {{timeout_processing: 5s}}}}]").settings) == []


def test_the_shipped_timeout_processing_is_warned_of(from_yaml):
    [note] = warnings(from_yaml("routes: [{profile: coraza, haproxy: {timeout_processing: 500ms}}]").settings)
    assert note.startswith("routes[0].disconnect_hold: 500ms, HAProxy gives up before that (timeout processing 500ms); raise")


def test_every_library_of_a_product_is_a_profile():
    assert {release.library for _, release in ALL} <= PROFILES.keys()
    assert all(len({release.version for release in product.releases}) == len(product.releases) for product in PRODUCTS.values())


def test_the_example_file_says_what_each_product_is():
    told = dict(re.findall(r"^    #   ([a-z-]+) +([a-z]+\.\w+: .*)$", EXAMPLE.read_text(), re.MULTILINE))
    assert told == {
        name: ", ".join(f"{dotted(key)}: {value}" for key, value in settings(product, product.releases[-1]))
        for name, product in PRODUCTS.items()
    }


def test_the_keys_of_a_product_are_keys_of_a_route():
    rows = {key for key, _, _ in load().rows()}
    assert {f"routes[0].{dotted(key)}" for name, release in ALL for key, _ in settings(PRODUCTS[name], release)} <= rows


def test_check_prints_a_product_and_where_its_values_come_from(tmp_path):
    file = tmp_path / "guard.yaml"
    file.write_text("routes: [{profile: coraza@0.7, haproxy: {timeout_processing: 5s}}]")
    shown = spoe_guard("check", "--config", str(file))
    assert shown.returncode == 0
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.stdout.splitlines() if line.startswith("routes[0].")}
    assert lines["routes[0].profile"] == f"coraza@0.7 {file}:1"
    assert lines["routes[0].redispatch"] == "unanswered profile coraza@0.7"
    assert lines["routes[0].hello.profile"] == "dropmore profile coraza@0.7"
    assert lines["routes[0].hello.capabilities"] == "[] profile dropmore"
    assert lines["routes[0].unanswered"] == "{set: error} haproxy.set_on_error"
    assert lines["routes[0].answer_deadline"] == "4900ms haproxy.timeout_processing"
    assert "warnings" not in shown.stdout
