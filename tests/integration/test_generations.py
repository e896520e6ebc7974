"""All four generations of HAProxy are present, have the right version, and serve a request through the lab's agent."""

import re
from pathlib import Path

import pytest

from spoe_guard.lab.frames import first_argument
from spoe_guard.wire import frame
from tests.integration import generations
from tests.integration.generations import Generation
from tests.integration.haproxy import Options
from tests.integration.stage import Stage


def test_a_generation_serves_a_request_and_stops(generation: Generation, stage: Stage):
    agent = stage.agent()
    haproxy = stage.haproxy(agent.address, Options(program=generation.program))
    assert haproxy.version == generation.version

    seen = haproxy.get("/path")
    assert (seen.status, seen.verdict, seen.error) == (200, "/path", "")
    [text] = [each for each in agent.agent.received if frame.NOTIFY in {got.type for got in each}]
    assert text[0].type == frame.HAPROXY_HELLO
    assert [first_argument(got) for got in text if got.type == frame.NOTIFY] == [b"/path"]

    haproxy.soft_stop()  # the process is HAProxy itself, not a script that would have to pass the signal on
    assert haproxy.wait_dead(5) == 0, haproxy.log()


@pytest.mark.parametrize("name", generations.RELEASES)
def test_a_fetched_generation_is_of_the_version_it_is_named_after(name):
    found = generations.find(name)
    assert ".".join(map(str, found.version)) == name
    assert found.mode == ("tcp" if found.version < (3, 1) else "spop")


@pytest.mark.parametrize("name", generations.RELEASES)
def test_a_fetched_generation_takes_every_library_from_its_own_release(name, stage):
    haproxy = stage.haproxy(stage.agent().address, Options(program=generations.find(name).program))
    maps = Path(f"/proc/{haproxy.process.pid}/maps").read_text()
    libraries = set(re.findall(r"/\S+\.so\S*", maps))
    assert any("/libcrypto." in library for library in libraries)
    assert [library for library in libraries if not library.startswith(f"{generations.HOME / name}/")] == []


def test_another_binary_joins_by_its_path():
    listed = generations.names({"SPOE_GUARD_HAPROXIES": "/opt/haproxy-3.4/haproxy:/usr/local/sbin/haproxy"})
    assert listed == [*generations.RELEASES, "/opt/haproxy-3.4/haproxy", "/usr/local/sbin/haproxy"]
    assert generations.names({}) == list(generations.RELEASES)


def test_a_named_binary_is_used_as_it_is():
    program = generations.find("2.6").program
    found = generations.find(program)
    assert (found.program, found.version, found.mode) == (program, (2, 6), "tcp")


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
@pytest.mark.parametrize(("name", "remedy"), [("2.2", "make haproxies"), ("/nowhere/haproxy", "name a binary")])
def test_a_missing_program_is_skipped_with_its_remedy_and_fails_in_ci(name, remedy, ci, outcome, tmp_path, monkeypatch):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(generations, "HOME", tmp_path)
    with pytest.raises(outcome, match=remedy):
        generations.find(name)
