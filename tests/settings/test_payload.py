"""One word for page, log and captures: `payload`, from which each may differ."""

import pytest

from spoe_guard.settings import load

SECTIONS = ("admin", "log", "capture")


def shown(loaded):
    return [getattr(loaded.settings, name).payload for name in SECTIONS]


@pytest.mark.parametrize(
    ("text", "payloads"),
    [
        ("", ["headers"] * 3),
        ("payload: full", ["full"] * 3),
        ("payload: off\nlog: {payload: full}", ["off", "full", "off"]),
        ("capture: {payload: full}", ["headers", "headers", "full"]),
        ("payload: full\nadmin: {payload: null}\nlog:\ncapture: {payload: off}", ["full", "full", "off"]),
        ("admin: {payload: null}", ["headers"] * 3),
    ],
)
def test_a_section_has_its_own_or_the_one_at_the_top(from_yaml, text, payloads):
    assert shown(from_yaml(text)) == payloads


def test_the_environment_sets_it_too():
    environ = {"SPOE_GUARD_PAYLOAD": "full", "SPOE_GUARD_LOG__PAYLOAD": "off", "SPOE_GUARD_ADMIN__PAYLOAD": "null"}
    assert shown(load(environ=environ)) == ["full", "off", "full"]


def test_check_tells_what_is_in_effect_and_whence(from_yaml, tmp_path):
    rows = {key: (value, origin) for key, value, origin in from_yaml("payload: full\nlog: {payload: off}").rows()}
    assert [rows[f"{name}.payload"][0] for name in SECTIONS] == ["full", "off", "full"]
    assert [rows[f"{name}.payload"][1] for name in ("admin", "capture")] == ["payload", "payload"]
    assert rows["log.payload"][1].endswith(":2")
    assert {(value, origin) for key, value, origin in load().rows() if key.endswith("payload")} == {("headers", "default")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("payload: everything", ["payload: 'everything' (FILE:1): allowed: full, headers, off"]),
        ("payload: everything\nlog: {payload: null}", ["payload: 'everything' (FILE:1): allowed: full, headers, off"]),
        ("payload: null", ["payload: null (FILE:1): allowed: full, headers, off"]),
        ("payload: [full]", ["payload: ['full'] (FILE:1): allowed: full, headers, off"]),
        ("log: {payload: some}", ["log.payload: 'some' (FILE:1): allowed: full, headers, off"]),
        ("payload: full\nadmin: 5", ["admin: 5 (FILE:2): expected keys below it: listen, name, control, hosts, payload"]),
    ],
)
def test_what_is_no_such_word_is_told_once(problems, text, message):
    assert problems(text) == message
