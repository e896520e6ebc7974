"""Each profile with its agents behind a real HAProxy: what fails without the profile works with it."""

import contextlib
import socket

import pytest

from spoe_guard.lab import frames
from spoe_guard.lab.engine import Engine
from spoe_guard.wire import frame, kv, typed_data
from tests.agents.catalogue import CATALOGUE
from tests.integration.generations import find
from tests.integration.guard import Guard
from tests.integration.haproxy import Haproxy, Options, Seen, wait_until
from tests.lab.loop import on_a_loop

PROFILES = {name: kind.family for name, kind in CATALOGUE.items() if kind.family in ("criteo", "negasus", "dropmore")}
GENERATIONS = ("2.6", "3.2")
ONE_AT_A_TIME = {"2.6": ("no option pipelining", "no option async"), "3.2": ("no option pipelining",)}

generations = pytest.mark.parametrize("generation", GENERATIONS)


@contextlib.contextmanager
def guarded(folder, agent, profile="none"):
    with Guard(folder, agent.address, settings={"ROUTES__0__HELLO__PROFILE": profile}) as guard:
        yield guard


@contextlib.contextmanager
def behind(folder, agent, generation, profile="none", **options):
    """HAProxy, the guard with that profile, and the agent."""
    program = find(generation).program
    with guarded(folder, agent, profile) as guard, Haproxy(folder, guard.address, Options(program=program, **options)) as haproxy:
        yield haproxy


def well(seen: Seen) -> bool:
    return (seen.status, seen.error, seen.allowed, seen.echo) == (200, "", "1", "/path")


@generations
@pytest.mark.parametrize("name", PROFILES)
def test_with_its_profile_an_agent_is_up_and_answers(name, generation, start_agent, tmp_path):
    agent = start_agent(CATALOGUE[name])
    with behind(tmp_path, agent, generation, PROFILES[name], check=True) as haproxy:
        wait_until(haproxy.health, "a health check was answered")
        assert haproxy.health() == "UP", haproxy.log()
        assert well(haproxy.get("/path")), haproxy.log()


# --- criteo ----------------------------------------


@generations
def test_criteo_1_0_6_fails_every_health_check_without_its_profile(generation, start_agent, tmp_path):
    agent = start_agent(CATALOGUE["criteo-1.0.6"])
    with behind(tmp_path, agent, generation, check=True) as haproxy:
        wait_until(haproxy.health, "a health check was answered")
        assert haproxy.health() == "DOWN", haproxy.log()


@generations
@pytest.mark.parametrize("name", ["criteo-1.0.6", "criteo-1.0.8"])
@pytest.mark.parametrize("profile", ["none", "criteo"])
def test_criteo_serves_a_haproxy_that_does_not_pipeline_with_its_profile_alone(name, generation, profile, start_agent, tmp_path):
    agent = start_agent(CATALOGUE[name])
    with behind(tmp_path, agent, generation, profile, spoe=ONE_AT_A_TIME[generation]) as haproxy:
        assert [well(haproxy.get("/path")) for _ in range(3)] == [profile == "criteo"] * 3, haproxy.log()


# --- negasus ----------------------------------------


def mistyped() -> bytes:
    """HAPROXY-HELLO as a checker that is not HAProxy may write it: the size as INT32."""
    pairs = [
        kv.Pair(b"supported-versions", typed_data.STR, b"2.0"),
        kv.Pair(b"max-frame-size", typed_data.INT32, 16380),
        kv.Pair(b"capabilities", typed_data.STR, b"pipelining"),
    ]
    return frame.encode(frame.HAPROXY_HELLO, payload=kv.encode(pairs))


def farewell() -> bytes:
    """HAPROXY-DISCONNECT with a key that is none of its own."""
    pairs = [
        kv.Pair(b"status-code", typed_data.UINT32, 0),
        kv.Pair(b"message", typed_data.STR, b"normal"),
        kv.Pair(b"healthcheck", typed_data.STR, b"yes"),
    ]
    return frame.encode(frame.HAPROXY_DISCONNECT, payload=kv.encode(pairs))


def ask(address: str, message: bytes) -> bytes:
    """Return the type of the first frame that comes back, nothing where the connection ends instead."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as peer, contextlib.suppress(ConnectionError):
        peer.sendall(message)
        return peer.recv(5)[4:]
    return b""


NEGASUS = pytest.mark.parametrize("name", ["negasus-1.0.5", "negasus-1.0.7"])


@NEGASUS
def test_negasus_dies_of_a_mistyped_hello_and_with_its_profile_answers_it(name, start_agent, tmp_path):
    bare = start_agent(CATALOGUE[name])
    assert ask(bare.address, mistyped()) == b""
    wait_until(lambda: not bare.alive(), "it died")
    agent = start_agent(CATALOGUE[name])
    for profile, answer in (("none", frame.AGENT_DISCONNECT), ("negasus", frame.AGENT_HELLO)):
        (tmp_path / profile).mkdir()
        with guarded(tmp_path / profile, agent, profile) as guard:
            assert ask(guard.address, mistyped()) == bytes((answer,))
            wait_until(lambda: guard.anomalies()["hello_malformed"] == 1, "it was counted")
        assert agent.alive()


@pytest.mark.parametrize("name", ["negasus-1.0.5", "negasus-1.0.7", "dropmore-0.0.5"])
@on_a_loop
async def test_a_disconnect_that_ends_an_agents_process_is_written_anew(name, start_agent, tmp_path):
    bare, agent = start_agent(CATALOGUE[name]), start_agent(CATALOGUE[name])
    with guarded(tmp_path, agent) as guard:
        for port in (bare.port, int(guard.address.rpartition(":")[2])):
            async with await Engine.tcp(port) as engine:
                await engine.hello()
                await engine.send(farewell())
                with contextlib.suppress(ConnectionError):
                    assert await engine.read() is None or port != bare.port
        wait_until(lambda: not bare.alive(), "it died")
        assert guard.anomalies()["disconnect_malformed"] == 1
        assert agent.alive()


# --- dropmore ----------------------------------------


@generations
@pytest.mark.parametrize("name", [name for name in PROFILES if name.startswith("dropmore")])
@pytest.mark.parametrize("profile", ["none", "dropmore"])
def test_dropmore_needs_its_profile_when_offered_more_than_64k(name, generation, profile, start_agent, tmp_path):
    agent = start_agent(CATALOGUE[name])
    speaks = profile == "dropmore" or name == "dropmore-0.1.1"  # mended there
    with behind(tmp_path, agent, generation, profile, tune="tune.bufsize 131072") as haproxy:
        assert well(haproxy.get("/path")) == speaks, haproxy.log()


@pytest.mark.parametrize("name", ["dropmore-0.0.5", "dropmore-0.0.6"])
@on_a_loop
async def test_the_dropmore_profile_gives_each_connection_one_notify_at_a_time(name, start_agent, tmp_path):
    agent = start_agent(CATALOGUE[name], delay_ms=(100, 100))
    for profile, links in (("none", 1), ("dropmore", 2)):
        (tmp_path / profile).mkdir()
        with guarded(tmp_path / profile, agent, profile) as guard:
            async with await Engine.tcp(int(guard.address.rpartition(":")[2])) as engine:
                hello = await engine.hello()
                pairs = {pair.name: pair.value for pair in kv.parse(hello.raw, hello.payload_at, len(hello.raw))[0]}
                assert pairs[b"capabilities"] == b"pipelining,fragmentation"
                await engine.send(b"".join(frames.notify(at, 1, b"/path") for at in (1, 3)))
                assert {(await engine.read()).stream_id, (await engine.read()).stream_id} == {1, 3}
            assert guard.metric("spoe_guard_agent_links_opened_total") == links


# --- any agent ----------------------------------------


def test_a_haproxy_with_a_small_buffer_calls_the_guarded_agent_up(start_agent, tmp_path):
    """From 3.1 on it offers 16380 bytes in the check all the same, and is content with no more than its buffer holds."""
    agent = start_agent(CATALOGUE["negasus-1.0.7"])
    small = Options(program=find("3.2").program, tune="tune.bufsize 8192", check=True)
    (tmp_path / "bare").mkdir()
    with Haproxy(tmp_path / "bare", agent.address, small) as haproxy:
        wait_until(haproxy.health, "a health check was answered")
        assert haproxy.health() == "DOWN", haproxy.log()
    with behind(tmp_path, agent, "3.2", tune="tune.bufsize 8192", check=True) as haproxy:
        wait_until(haproxy.health, "a health check was answered")
        assert haproxy.health() == "UP", haproxy.log()
        assert well(haproxy.get("/path")), haproxy.log()
