"""A profile is a set of ordinary settings, and explicit settings override it."""

import re
from pathlib import Path

import pytest

from spoe_guard.settings import load
from spoe_guard.settings.profiles import PROFILES

EXAMPLE = Path(__file__).parents[2] / "config" / "spoe-guard.yaml"


def written(value):
    return f"[{', '.join(value)}]" if isinstance(value, list) else str(value)


def as_lines(profile):
    return {f"{section}.{key}": written(value) for section, keys in profile.items() for key, value in keys.items()}


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_as_good_as_its_settings_written_by_hand(from_yaml, name):
    sections = {"hello": {}, **PROFILES[name]}
    by_hand = {
        section: "".join(f"{key}: {written(value)}, " for key, value in keys.items()) for section, keys in sections.items()
    }
    by_hand["hello"] += "profile: none"
    profile = from_yaml(f"routes: [{{hello: {{profile: {name}}}}}]")
    text = ", ".join(f"{section}: {{{keys}}}" for section, keys in by_hand.items())
    same = from_yaml(f"routes: [{{{text}}}]").settings.model_dump()
    same["routes"][0]["hello"]["profile"] = name
    assert profile.settings.model_dump() == same
    found = {key.removeprefix("routes[0]."): (value, origin) for key, value, origin in profile.rows()}
    expected = {key.removeprefix("routes[0]."): (value, origin) for key, value, origin in load().rows()}
    expected |= {key: (value, f"profile {name}") for key, value in as_lines(PROFILES[name]).items()}
    expected["hello.profile"] = found["hello.profile"]
    assert found == expected


def test_what_is_said_by_hand_comes_before_the_profile(from_yaml):
    environ = {"SPOE_GUARD_ROUTES__0__HELLO__MAX_FRAME_SIZE": "null"}
    loaded = from_yaml("routes: [{hello: {profile: dropmore, capabilities: [pipelining]}}]", environ)
    hello = loaded.settings.routes[0].hello
    assert (hello.capabilities, hello.max_frame_size) == (("pipelining",), None)
    assert loaded.origin(("routes", "0", "hello", "capabilities")).endswith("guard.yaml:1")
    assert loaded.origin(("routes", "0", "hello", "max_frame_size")).startswith("environment")


def test_a_profile_fills_in_beside_what_is_said_of_its_other_sections(from_yaml):
    links = from_yaml("routes: [{hello: {profile: criteo}, links: {max: 3}}]").settings.routes[0].links
    assert (links.max, links.in_flight, links.retire) == (3, 1, 25.0)
    links = from_yaml("routes: [{hello: {profile: criteo}, links: }]").settings.routes[0].links
    assert (links.max, links.in_flight, links.retire) == (20, 1, 25.0)


def test_a_section_that_is_none_is_told_as_without_a_profile(problems):
    [message] = problems("routes: [{hello: {profile: criteo}, links: 5}]")
    assert message.startswith("routes[0].links: 5 (FILE:1): expected keys below it")


def test_each_route_has_its_own_profile_and_the_environment_may_choose_it(from_yaml):
    text = "routes:\n- hello: {profile: criteo}\n- name: b\n  listen: 127.0.0.1:7\n  hello:\n- name: c\n  listen: 127.0.0.1:8"
    environ = {"SPOE_GUARD_ROUTES__1__HELLO__PROFILE": "dropmore"}
    first, second, third = from_yaml(text, environ).settings.routes
    assert (first.hello.engine_id, second.hello.engine_id, third.hello.engine_id) == ("spoe-guard", None, None)
    assert (first.hello.max_frame_size, second.hello.max_frame_size, third.hello.max_frame_size) == (None, 65535, None)


@pytest.mark.parametrize("name", ["critoe", "[criteo]", "null", "5"])
def test_what_is_no_profile_is_refused_with_those_there_are(problems, name):
    [message] = problems(f"routes: [{{hello: {{profile: {name}}}}}]")
    assert message.startswith("routes[0].hello.profile: ")
    assert message.endswith("allowed: none, criteo, negasus, dropmore, spoa-c")


def test_the_example_file_says_what_each_profile_is():
    told = dict(re.findall(r"^      #   ([a-z-]+) +([a-z]+\.\w+: .*)$", EXAMPLE.read_text(), re.MULTILINE))
    assert told == {
        name: ", ".join(f"{key}: {value}" for key, value in as_lines(profile).items())
        for name, profile in PROFILES.items()
        if profile
    }
