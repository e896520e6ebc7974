"""An agent that negotiated async and answers on another connection of the engine, at HAProxy up to 3.0, which has async (C7)."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from spoe_guard.lab import frames, streams
from spoe_guard.lab.agent import echo
from spoe_guard.wire import frame
from tests.integration import generations
from tests.integration.agent import OnThread
from tests.integration.haproxy import Options, wait_until
from tests.integration.hazards.peer import good_hello
from tests.integration.stage import Stage

PATHS = [f"/{number}" for number in range(8)]
HAPROXIES = 20  # one after the other, until the first burst of one comes over two connections
ASYNC = {"ROUTES__0__HELLO__CAPABILITIES": "pipelining,async"}


class Shuffler(OnThread):
    """Collects the NOTIFYs of a burst; where they came over several connections, it answers each on another one than its own."""

    def __init__(self) -> None:
        super().__init__()
        self.shuffled = 0  # ACKs on another connection than their NOTIFY's
        self._held: list[tuple[frame.Frame, asyncio.StreamWriter]] = []

    @property
    def holds(self) -> int:
        """How many NOTIFYs of a burst it has."""
        return len(self._held)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, streams.LOCALHOST, 0)
        self.address = f"{streams.LOCALHOST}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        await streams.stop_listening(self._server)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.keep()
        try:
            while got := await streams.read_frame(reader):
                if got.type == frame.HAPROXY_HELLO:
                    writer.write(good_hello(got, b"pipelining,async"))
                elif got.type == frame.HAPROXY_DISCONNECT:
                    writer.write(frames.disconnect(frame.AGENT_DISCONNECT))
                    break
                elif got.type == frame.NOTIFY:
                    self._notified(got, writer)
        except ConnectionError:
            pass  # how HAProxy goes is its own business
        finally:
            writer.close()

    def _notified(self, notify: frame.Frame, writer: asyncio.StreamWriter) -> None:
        self._held.append((notify, writer))
        if len(self._held) < len(PATHS):
            return
        held, self._held = self._held, []
        writers = list(dict.fromkeys(where for _, where in held))
        for got, where in held:
            there = writers[(writers.index(where) + 1) % len(writers)]
            there.write(frames.ack(got, echo(got)))
            self.shuffled += there is not where


def verdicts(stage: Stage, address: str, options: Options, agent: Shuffler) -> list[str]:
    """Return what the first burst of an HAProxy got that came over several connections to ``address``.

    HAProxy opens another connection while none is idle. Behind the first burst there always is one, and the more NOTIFYs of the
    last second it has processed the less it opens: the first burst of another HAProxy is as good as the first.
    """
    for _ in range(HAPROXIES):
        haproxy = stage.haproxy(address, options)
        with ThreadPoolExecutor(len(PATHS)) as clients:
            first = clients.submit(haproxy.get, PATHS[0])
            wait_until(lambda: agent.holds > 0, "its connection is busy")  # so that the next ones find none that is idle
            seen = [each.result() for each in (first, *(clients.submit(haproxy.get, path) for path in PATHS[1:]))]
        if agent.shuffled:
            return [each.verdict for each in seen]
        assert [each.verdict for each in seen] == PATHS
    raise AssertionError("every burst came over one connection")


@pytest.fixture(params=["2.2", "2.6", "3.0"])
def options(request: pytest.FixtureRequest) -> Options:
    return Options(program=generations.find(request.param).program)


def test_without_the_guard_haproxy_takes_it_on_any_connection(stage: Stage, options: Options) -> None:
    with Shuffler() as agent:
        assert verdicts(stage, agent.address, options, agent) == PATHS


def test_the_guard_delivers_each_shuffled_ack_to_its_haproxy_connection(stage: Stage, options: Options) -> None:
    with Shuffler() as agent:
        guard = stage.guard(agent.address, settings=ASYNC)
        assert verdicts(stage, guard.address, options, agent) == PATHS
        assert guard.anomalies() == {"foreign_ack": agent.shuffled}


def test_observed_it_passes_as_it_came_and_is_reported(stage: Stage, options: Options) -> None:
    with Shuffler() as agent:
        guard = stage.guard(agent.address, settings=ASYNC, mode="observe")
        assert verdicts(stage, guard.address, options, agent) == PATHS
        assert guard.anomalies(applied=False) == {"foreign_ack": agent.shuffled}
        assert guard.metric("spoe_guard_open_notifies") == 0


def test_dropped_by_policy_it_is_lost(stage: Stage, options: Options) -> None:
    with Shuffler() as agent:
        guard = stage.guard(agent.address, settings=ASYNC | {"ROUTES__0__POLICY__FOREIGN_ACK": "drop"})
        assert verdicts(stage, guard.address, options, agent).count("") == agent.shuffled
