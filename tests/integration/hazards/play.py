"""Runs a row of the hazard table against one HAProxy, with or without the guard."""

import itertools
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from tests.core.frames import haproxy_hello
from tests.integration.generations import Generation
from tests.integration.guard import Guard
from tests.integration.haproxy import Haproxy, wait_until
from tests.integration.hazards.peer import HazardAgent, Peer
from tests.integration.hazards.row import Outcome, Row

ONE_CONNECTION = 8  # so many NOTIFYs in a second, and HAProxy up to 3.0 sends a burst of fewer over the connection that it has
ATTEMPTS = 4
BURSTS = 50  # until one of them comes over one connection; the others are answered well
HELLO_S = 5.0
DEATH_S = 5.0  # HAProxy's watchdog takes its time


class NotStagedError(AssertionError):
    """HAProxy did not send what the row needs over one connection."""


class Company:
    """The agents of the scenes, and the guards in front of one: one for each way of setting it, which plays many scenes.

    A scene with the guard and one without it can be played at the same time: each has an agent of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._guards: dict[tuple[tuple[str, str], ...], Guard] = {}
        self._stack = ExitStack()
        self._agents = {guarded: self._stack.enter_context(HazardAgent(Peer())) for guarded in (False, True)}

    def close(self) -> None:
        """End all of them; each guard's books are checked."""
        self._stack.close()

    def folder(self) -> Path:
        """Return a new folder."""
        made = self._folder / str(next(self._numbers))
        made.mkdir()
        return made

    def guard(self, row: Row) -> Guard:
        """Return the guard set as the row wants it."""
        if row.settings not in self._guards:
            # A session ends with its agent link here, so that HAProxy meets whatever an agent does to its end; that it meets
            # nothing of it where links are replaced, the default, is another chapter: tests/integration/continuity.
            settings = {"ROUTES__0__LINKS__GIVE_UP": "0", **dict(row.settings)}
            guard = Guard(self.folder(), self._agents[True].address, settings=settings)
            self._guards[row.settings] = self._stack.enter_context(guard)
        return self._guards[row.settings]

    def play(self, row: Row, generation: Generation, *, guarded: bool) -> Outcome:
        """Set the scene, let the agent go wrong, and take down what there is to see.

        On a busy machine HAProxy may spread the NOTIFYs of a burst over two connections; that is not the scene, and it is set
        again.

        Raises:
            NotStagedError: it was not to be had in a few attempts.
        """
        guard, agent = self.guard(row) if guarded else None, self._agents[guarded]
        for _ in range(ATTEMPTS):
            agent.reset(row.peer)
            if guard:
                _say_hello(guard.address)
            before = guard.anomalies() if guard else Counter()
            options = replace(row.options, program=generation.program)
            with Haproxy(self.folder(), guard.address if guard else agent.address, options) as haproxy:
                outcome = SCENES[row.scene](row, haproxy, agent)
            if guard is not None:
                wait_until(lambda: guard.metric("spoe_guard_connections_active") == 0, "every session ended")
                outcome.anomalies = guard.anomalies() - before
            if outcome.staged:
                return outcome
        raise NotStagedError(f"{row.id}: HAProxy {generation.name} never sent {row.peer.hold} NOTIFYs over one connection")


def _agent(row: Row, haproxy: Haproxy, agent: HazardAgent) -> Outcome:
    """Requests, while the agent goes wrong."""
    _warm_up(row, haproxy)
    agent.armed = True
    with _measured(haproxy, agent) as outcome:
        paths = [f"/{number}" for number in range(row.requests)]
        for _ in range(BURSTS):
            seen = haproxy.get_all(paths) if row.peer.hold > 1 else [haproxy.get(path) for path in paths]
            if row.peer.hold == 1 or agent.played or any(each.error for each in seen):
                break
        outcome.answers = [row.shows(each, path) for each, path in zip(seen, paths, strict=True)]
        if any(each.status == 0 for each in seen):
            outcome.died_of = -haproxy.wait_dead(DEATH_S)
    outcome.staged = row.peer.play is None or agent.played > 0
    outcome.given = agent.answered if row.counted == "answers" else None
    outcome.stalls = outcome.answers.count("st=1") if row.counted == "stalls" else None
    if row.after and not outcome.died_of:
        after = haproxy.get("/after")
        outcome.after = row.shows(after, "/after")
        outcome.died_of = max(0, -(haproxy.process.poll() or 0)) or _dying(haproxy)
    return outcome


def _say_hello(address: str) -> None:
    """Have the guard see the agent behave: what it refuses is then the first refusal again, whatever was played before."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=HELLO_S) as haproxy:
        haproxy.sendall(haproxy_hello())
        assert haproxy.recv(4096), "no AGENT-HELLO"


def _warm_up(row: Row, haproxy: Haproxy) -> None:
    count = (ONE_CONNECTION if row.peer.hold > 1 else 1) if row.warm_up is None else row.warm_up
    for number in range(count):
        path = f"/warm-up/{number}"
        assert haproxy.get(path).verdict == path


def _dying(haproxy: Haproxy) -> int:
    """Return what HAProxy dies of within a few seconds, where it is spinning; else 0."""
    used, began = haproxy.cpu_s(), time.monotonic()
    time.sleep(0.1)  # this is the measurement
    if haproxy.alive() and haproxy.cpu_s() - used < 0.5 * (time.monotonic() - began):
        return 0
    try:
        return max(0, -haproxy.wait_dead(DEATH_S))
    except subprocess.TimeoutExpired:
        return 0


@contextmanager
def _measured(haproxy: Haproxy, agent: HazardAgent) -> Iterator[Outcome]:
    """Count what happens inside."""
    outcome = Outcome([], anomalies=Counter())
    connections, began = agent.connections, time.monotonic()
    yield outcome
    outcome.connections, outcome.seconds = agent.connections - connections, time.monotonic() - began


def _check(row: Row, haproxy: Haproxy, agent: HazardAgent) -> Outcome:
    """``option spop-check`` while the agent goes wrong: what becomes of the server."""
    wait_until(lambda: _server(haproxy)[0] == "UP", "the agent is UP")
    agent.armed = True
    checks = agent.connections

    def judged() -> bool:
        return not haproxy.alive() or agent.connections >= checks + 3 or _server(haproxy)[0] == "DOWN"

    with _measured(haproxy, agent) as outcome:
        try:
            wait_until(judged, "three more checks, or DOWN")
            status, last = _server(haproxy)
            outcome.answers = [status if status == "UP" else f"{status} ({last})"]
        except OSError:  # nobody at the stats socket
            outcome.died_of = -haproxy.wait_dead(DEATH_S)
    outcome.connections = 0
    return outcome


def _server(haproxy: Haproxy) -> tuple[str, str]:
    """Return the state of the agent in HAProxy's eyes, and what its last check said."""
    head, *lines = haproxy.show("show stat").splitlines()
    names = head.removeprefix("# ").split(",")
    for line in lines:
        fields = dict(zip(names, line.split(","), strict=False))
        if fields.get("svname") == "agent":
            return fields["status"].split(maxsplit=1)[0], fields.get("last_chk", "")
    raise AssertionError("no server")


def _soft_stop(row: Row, haproxy: Haproxy, agent: HazardAgent) -> Outcome:
    """SIGUSR1 to an idle HAProxy, and how long it stays."""
    _warm_up(row, haproxy)
    agent.armed = True
    with _measured(haproxy, agent) as outcome:
        haproxy.soft_stop()
        haproxy.wait_dead(row_idle_s(row) + 5)
    stays = outcome.seconds > 0.8 * row_idle_s(row)
    outcome.answers = ["HAProxy stays for `timeout idle`" if stays else "HAProxy stops at once"]
    return outcome


def row_idle_s(row: Row) -> float:
    """Return `timeout idle` of the scene, in seconds."""
    return float(row.options.idle.removesuffix("s"))


SCENES: dict[str, Callable[[Row, Haproxy, HazardAgent], Outcome]] = {
    "agent": _agent,
    "check": _check,
    "soft-stop": _soft_stop,
}
