"""spoe.conf: the section of one engine's agent, told from those of others, and its messages."""

from pathlib import Path

from spoe_guard.haproxy_config.source import Source
from spoe_guard.haproxy_config.spoe_conf import Argument, SpoeConf, read
from spoe_guard.haproxy_config.statements import Variables


def conf(text: str, engine: str | None = None) -> SpoeConf:
    return read(Source(Path("spoe.conf"), tuple(text.splitlines(keepends=True))), engine, Variables({}))


def test_an_engine_has_what_stands_in_its_scope_alone():
    text = "spoe-agent none\n timeout hello 1s\n[a]\nspoe-agent one\n timeout hello 2s\n[b]\nspoe-agent two\n timeout hello 3s\n"
    found = [conf(text, engine) for engine in (None, "a", "b")]
    assert [(each.agent.name, each.agent.last("timeout", "hello").text(2)) for each in found] == [
        ("none", "1s"),
        ("one", "2s"),
        ("two", "3s"),
    ]
    assert found[0].scopes == [None, "a", "b"]


def test_a_line_in_another_scope_is_not_of_the_section_above_it():
    found = conf("[a]\nspoe-agent one\n timeout hello 2s\n[b]\n timeout hello 3s\n[a]\n timeout idle 4s\n", "a")
    assert [statement.text(2) for statement in found.agent.body] == ["2s", "4s"]


def test_an_engine_without_an_agent_has_none():
    assert conf("[a]\nspoe-agent one\n", "b").agent is None
    assert conf("").agent is None


def test_a_second_agent_of_an_engine_is_named():
    found = conf("spoe-agent one\nspoe-agent two\n")
    assert (found.agent.name, list(map(str, found.notes))) == (
        "one",
        ["spoe.conf:2: a second spoe-agent, two: HAProxy takes one for each engine"],
    )


def test_an_unknown_keyword_is_named():
    found = conf("spoe-agent one\n option var-prefix x\n no log\n timeuot hello 1s\nspoe-message m\n anything\n")
    assert list(map(str, found.notes)) == ["spoe.conf:4: `timeuot` is not known in a spoe-agent section"]


def test_arguments_have_names_or_none():
    found = conf("spoe-message m\n args src path=path\n args body=req.body,len\nspoe-message n\n args ip=src\n")
    assert found.arguments() == [
        Argument("", "src"),
        Argument("path", "path"),
        Argument("body", "req.body,len"),
        Argument("ip", "src"),
    ]


def test_events_are_those_of_all_messages():
    text = "spoe-message m\n event on-client-session\nspoe-message n\n event on-http-response if { status 200 }\nspoe-group g\n"
    found = conf(text)
    assert [event.text(1) for event in found.events()] == ["on-client-session", "on-http-response"]
    assert [group.name for group in found.groups] == ["g"]
