"""What follows from ``haproxy``: other settings, each with where it came from, unless they are set by hand."""

import pytest

from spoe_guard.settings import load, session_config
from spoe_guard.settings.derived import add_derived
from spoe_guard.settings.layers import Given
from spoe_guard.settings.model import Unanswered
from spoe_guard.settings.products import add_products
from spoe_guard.settings.profiles import add_profiles
from tests.running import spoe_guard

FOLLOWS = ("answer_deadline", "links.park", "timeouts.hello", "unanswered")
ALL_THREE = "haproxy: {timeout_processing: 1s, timeout_hello: 200ms, set_on_error: error}"


def followed(loaded) -> dict[str, tuple[str, str]]:
    """What may follow, as ``check`` shows it: value and origin, by key."""
    rows = {key.removeprefix("routes[0]."): (value, origin.rpartition("/")[2]) for key, value, origin in loaded.rows()}
    return {key: rows[key] for key in FOLLOWS}


def test_what_haproxy_was_told_is_what_others_follow_from(from_yaml):
    assert followed(from_yaml(f"routes: [{{{ALL_THREE}}}]")) == {
        "answer_deadline": ("980ms", "haproxy.timeout_processing"),
        "links.park": ("980ms", "haproxy.timeout_processing"),
        "timeouts.hello": ("195ms", "haproxy.timeout_hello"),
        "unanswered": ("{set: error}", "haproxy.set_on_error"),
    }


@pytest.mark.parametrize(
    ("told", "follows"),
    [
        ("timeout_processing: 1s", {"answer_deadline", "links.park"}),
        ("timeout_hello: 1s", {"timeouts.hello"}),
        ("set_on_error: error", {"unanswered"}),
        ("timeout_processing: null, timeout_hello: null, set_on_error: null", set()),
    ],
)
def test_of_what_is_not_known_nothing_follows(from_yaml, told, follows):
    found = followed(from_yaml(f"routes: [{{haproxy: {{{told}}}}}]"))
    assert {key for key, (_value, origin) in found.items() if origin != "default"} == follows
    default = followed(load())
    assert {key: row for key, row in found.items() if key not in follows} == {
        key: row for key, row in default.items() if key not in follows
    }


@pytest.mark.parametrize(
    ("timeout", "under"),
    [
        ("2us", "1us"),
        ("9ms", "4500us"),  # half, below 10 ms
        ("10ms", "5ms"),
        ("11ms", "6ms"),  # 5 ms
        ("250ms", "245ms"),
        ("251ms", "245980us"),  # 2 %
        ("500ms", "490ms"),
        ("5s", "4900ms"),
        ("5001ms", "4901ms"),  # 100 ms
        ("1m", "59900ms"),
        ("500", "490ms"),
    ],
)
def test_it_ends_a_little_before_haproxys_own(from_yaml, timeout, under):
    found = followed(from_yaml(f"routes: [{{haproxy: {{timeout_processing: {timeout}, timeout_hello: {timeout}}}}}]"))
    assert {key: found[key][0] for key in ("answer_deadline", "links.park", "timeouts.hello")} == dict.fromkeys(
        ("answer_deadline", "links.park", "timeouts.hello"), under
    )


@pytest.mark.parametrize(
    ("by_hand", "expected"),
    [
        ("answer_deadline: 300ms", {"answer_deadline": "300ms"}),
        ("answer_deadline: null", {"answer_deadline": "null"}),
        ("links: {park: 2s}", {"links.park": "2s"}),
        ("links: {park: null}", {"links.park": "null"}),
        ("timeouts: {hello: null}", {"timeouts.hello": "null"}),
        ("unanswered: tell", {"unanswered": "tell"}),
        ("unanswered: {set: fail}", {"unanswered": "{set: fail}"}),
    ],
)
def test_what_is_set_by_hand_comes_first_also_null(from_yaml, by_hand, expected):
    found = followed(from_yaml(f"routes: [{{{ALL_THREE}, {by_hand}}}]"))
    follows = followed(from_yaml(f"routes: [{{{ALL_THREE}}}]"))
    assert found == follows | {key: (value, "guard.yaml:1") for key, value in expected.items()}


def test_the_environment_may_tell_it_and_comes_before_what_follows(from_yaml):
    environ = {"SPOE_GUARD_ROUTES__0__HAPROXY__TIMEOUT_PROCESSING": "2s", "SPOE_GUARD_ROUTES__0__LINKS__PARK": "null"}
    found = followed(from_yaml("routes: [{haproxy: {timeout_processing: 1s}}]", environ))
    assert found["answer_deadline"] == ("1960ms", "haproxy.timeout_processing")
    assert found["links.park"] == ("null", "environment SPOE_GUARD_ROUTES__0__LINKS__PARK")


def test_a_section_beside_it_keeps_its_other_keys(from_yaml):
    route = from_yaml(f"routes: [{{{ALL_THREE}, links: {{max: 3, in_flight: 1}}, timeouts: }}]").settings.routes[0]
    assert (route.links.max, route.links.in_flight, route.links.park, route.timeouts.hello) == (3, 1, 0.98, 0.195)


def test_a_profile_and_what_follows_meet_in_one_section(from_yaml):
    loaded = from_yaml(f"routes: [{{{ALL_THREE}, hello: {{profile: criteo}}}}]")
    assert loaded.origin(("routes", "0", "links", "max")) == "profile criteo"
    assert loaded.origin(("routes", "0", "links", "park")) == "haproxy.timeout_processing"


def test_each_route_is_told_by_itself(from_yaml):
    first, second = from_yaml(f"routes: [{{{ALL_THREE}}}, {{name: b, listen: '127.0.0.1:1'}}]").settings.routes
    assert (first.unanswered, first.answer_deadline) == (Unanswered("set", "error"), 0.98)
    assert (second.unanswered, second.answer_deadline, second.links.park) == (Unanswered("tell"), None, None)


def test_the_sessions_get_what_follows(from_yaml):
    settings = from_yaml(f"routes: [{{{ALL_THREE}}}]").settings
    config = session_config(settings, settings.routes[0])
    assert (config.answer_deadline_s, config.park_s, config.agent_hello_s) == (0.98, 0.98, 0.195)
    assert (config.unanswered.value, config.error_name) == ("set", b"error")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("timeout_processing: soon", "timeout_processing: 'soon'"),
        ("timeout_processing: 0", "timeout_processing: 0 "),
        ("set_on_error: a-b", "set_on_error: 'a-b'"),
        (f"set_on_error: {'a' * 49}", "set_on_error: "),
        ("timeout: 1s", "timeout: '1s'"),
    ],
)
def test_what_haproxy_cannot_have_been_told_is_refused(problems, told, message):
    [found] = problems(f"routes: [{{haproxy: {{{told}}}}}]")
    assert found.startswith(f"routes[0].haproxy.{message}")


@pytest.mark.parametrize("section", ["haproxy: 5", f"{ALL_THREE}, links: 5"])
def test_a_section_that_is_none_is_told_as_such(problems, section):
    [message] = problems(f"routes: [{{{section}}}]")
    assert "expected keys below it" in message


@pytest.mark.parametrize("name", ["error", "a" * 48, "Waf.error_1"])
def test_a_name_is_what_haproxy_takes(from_yaml, name):
    assert from_yaml(f"routes: [{{unanswered: {{set: {name}}}}}]").settings.routes[0].unanswered == Unanswered("set", name)


@pytest.mark.parametrize(
    "value", ["set", "{set: a-b}", "{set: ''}", "{set: 5}", "{set: a, more: b}", "{}", "empty", "[tell]", "null"]
)
def test_what_is_no_answer_is_refused_with_those_there_are(problems, value):
    [message] = problems(f"routes: [{{unanswered: {value}}}]")
    assert message.startswith("routes[0].unanswered")
    assert "expected {set: NAME}, tell, empty-ack or leave" in message or "1 to 48 letters, digits, _ or ." in message


def test_check_shows_what_follows_and_from_what(tmp_path):
    file = tmp_path / "guard.yaml"
    file.write_text(f"routes: [{{{ALL_THREE}}}]")
    shown = spoe_guard("check", "--config", str(file))
    assert shown.returncode == 0
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in shown.stdout.splitlines() if line.startswith("routes[0].")}
    assert lines["routes[0].answer_deadline"].split() == ["980ms", "haproxy.timeout_processing"]
    assert lines["routes[0].links.park"].split() == ["980ms", "haproxy.timeout_processing"]
    assert lines["routes[0].timeouts.hello"].split() == ["195ms", "haproxy.timeout_hello"]
    assert lines["routes[0].unanswered"].split() == ["{set:", "error}", "haproxy.set_on_error"]


@pytest.mark.parametrize("add", [add_products, add_profiles, add_derived])
def test_what_follows_for_a_route_costs_the_same_among_many(monkeypatch, add):
    """Of a thousand routes it took as long as all else of a reload together."""
    listed, routes = [], Given.routes
    monkeypatch.setattr(Given, "routes", lambda given: listed.append(1) or routes(given))
    for count in (1, 50):
        given = Given()
        for at in range(count):
            row = {"profile": "coraza", "hello": {"profile": "criteo"}, "haproxy": {"timeout_processing": "1s"}}
            given.put(("routes", str(at)), row, "here")
        add(given)
        assert len(given.origins) > count
    assert len(listed) == 2
