"""A guard with many routes and sessions, and what it costs to look at it: /metrics, /api/status, and a reload of all routes.

``make fleet-measured`` (``python -m tests.fleet.fleet DOCS``) measures it; joins docs/benchmarks.*.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Final

from spoe_guard.about import about
from tests.bench import __main__ as bench
from tests.bench.process import open_files, wait_for
from tests.fleet.figures import LOOKS, in_all_ms, longest_ms
from tests.running import environment

ROUTES: Final = 1000
SESSIONS: Final = 10_000
ROUNDS: Final = 6
PATIENCE_S: Final = 120.0
SPARE_FILES: Final = 200
SHARE_OF_FAULTS: Final = 5  # of so many routes one has an agent that makes mistakes
# Where descriptors do not suffice for a link of each session, so many of ten routes have `links.retire`: their sessions stay, and
# have a link only while there is something to ask.
RETIRED: Final = 3


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


class Peer:
    """A process of ``tests.fleet.peers``."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            command("tests.fleet.peers", *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )

    def line(self, tell: str = "") -> str:
        """Return the next line that it says; ``tell``: what it is told before."""
        stdin, stdout = self._pipes()
        if tell:
            stdin.write(f"{tell}\n")
            stdin.flush()
        said = stdout.readline().strip()
        assert said, "a peer has ended"
        return said

    def stop(self) -> None:
        for pipe in self._pipes():
            pipe.close()
        self.process.kill()
        self.process.wait()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self.process.stdin
        assert self.process.stdout
        return self.process.stdin, self.process.stdout


class Fleet:
    """``routes`` routes with ``sessions`` sessions on them, in ``folder``, served by ``workers``.

    ``links``: how many agent links there are at rest.
    """

    def __init__(self, folder: Path, routes: int, sessions: int, workers: int = 1) -> None:
        self._workers = workers
        self.routes = routes
        self.sessions = sessions
        self._report = folder / "report"
        self._file = folder / "guard.yaml"
        self._agents = Peer("agents")
        self._ports = self._agents.line().split()
        self._retires = routes + 2 * sessions + SPARE_FILES > open_files()
        self._write()
        self._log = folder / "guard.log"
        with self._log.open("wb") as log:
            self.guard = subprocess.Popen(
                command("tests.fleet.watched", str(self._report), "run", "--config", str(self._file)),
                stdout=log,
                env=environment(),
            )
        said = self._said("listening")
        self._admin = said["admin"]
        self._haproxys = Peer("haproxys", str(sessions // routes), *said["routes"].values())

    def _write(self, *, mark: str = "") -> None:
        """Write the settings. ``mark``: something that each route has anew."""
        rows = []
        for number in range(self.routes):
            row: dict[str, Any] = {"name": f"team-{number:04}", "listen": "127.0.0.1:0"}
            row["agent"] = f"127.0.0.1:{self._ports[number % SHARE_OF_FAULTS == 0]}"
            row["haproxy"] = {"timeout_processing": "1s", "set_on_error": f"error{mark}"}
            if self._retires and number % 10 < RETIRED:
                row["links"] = {"retire": "1s"}
            rows.append(row)
        self._file.write_text(json.dumps({"workers": self._workers, "routes": rows, "admin": {"listen": "127.0.0.1:0"}}))

    def _said(self, event: str, count: int = 1) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            assert self.guard.poll() is None
            lines = [json.loads(line) for line in self._log.read_text().rpartition("\n")[0].splitlines()]
            of_event = [line for line in lines if line["event"] == event]
            return of_event[count - 1] if len(of_event) >= count else None

        return wait_for(found, event, PATIENCE_S)

    def fill(self) -> None:
        """Open the sessions, have NOTIFYs answered, and wait until the history is full."""
        assert self._haproxys.line() == "open"
        self.guard.send_signal(signal.SIGUSR1)
        for _ in range(self.sessions // self.routes):
            self.exchange()
        while "filled" not in [line["what"] for line in self.seen()]:
            self.exchange()

    def exchange(self, how: str = "all") -> None:
        """Let a session of each route have one more NOTIFY answered, so that every route has other numbers.

        ``how``: with ``renew`` it ends then, and another one has its place.
        """
        assert self._haproxys.line(how) == "answered"
        # Links that were dialled for it retire; then there are the listeners, both ends of each session, and a few files.
        staying = sum(not (self._retires and number % 10 < RETIRED) for number in range(self.routes))
        most = self.routes + self.sessions + staying * self.sessions // self.routes + SPARE_FILES // 4
        files = Path(f"/proc/{self.guard.pid}/fd")
        wait_for(lambda: len(list(files.iterdir())) <= most, "links have retired", PATIENCE_S)

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://{self._admin}{path}", timeout=PATIENCE_S) as answer:
            return answer.read()

    def reload(self, mark: str) -> None:
        """Change something of every route, and wait until it is in effect."""
        before = len(self.seen())
        self._write(mark=mark)
        self.guard.send_signal(signal.SIGHUP)
        wait_for(lambda: len(self.seen()) > before, "reloaded", PATIENCE_S)

    def seen(self) -> list[dict[str, Any]]:
        """Return what the guard said of itself so far, see ``tests.fleet.watched``."""
        return _lines(self._report)

    def seen_by_workers(self) -> list[dict[str, Any]]:
        """Return what the workers said of themselves."""
        return [line for path in self._report.parent.glob(f"{self._report.name}-*") for line in _lines(path)]

    def stop(self) -> None:
        self._haproxys.stop()
        self.guard.kill()
        self.guard.wait()
        self._agents.stop()


def _lines(report: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in report.read_text().rpartition("\n")[0].splitlines()]


@contextmanager
def fleet(routes: int = ROUTES, sessions: int = SESSIONS, workers: int = 1) -> Iterator[Fleet]:
    """Yield a guard with so many routes and sessions, all of which have been answered, with a full history."""
    with TemporaryDirectory() as folder:
        made = Fleet(Path(folder), routes, sessions, workers)
        try:
            made.fill()
            yield made
        finally:
            made.stop()


def measured(made: Fleet, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return of each thing: bytes of the answer, and as ``tests.fleet.watched`` says them, milliseconds, each time.

    ``cpu`` and ``longest``: pairs, those of the loop and of these the garbage collector's.
    """
    told: dict[str, Any] = {}
    for path in LOOKS:
        told[path] = {"cpu": [], "longest": [], "bytes": 0}
        for _ in range(2 * rounds):  # in turn: how long in all, and how long at a time
            made.exchange()
            before = len(made.seen())
            told[path]["bytes"] = len(made.get(path))
            _note(told[path], wait_for(lambda: made.seen()[before:], path)[0])  # noqa: B023  called at once
            time.sleep(1)  # /metrics rests between two renderings
    told["reload"] = {"cpu": [], "longest": []}
    for number in range(2 * max(rounds // 2, 1)):
        before = len(made.seen())
        made.reload(str(number))
        _note(told["reload"], made.seen()[before])
    return told


def collected(made: Fleet, rounds: int = ROUNDS) -> dict[str, tuple[int, float]]:
    """Have sessions come and go, and all of them replaced in each round, while NOTIFYs are answered.

    Return by generation how many collections there were meanwhile, and milliseconds of the longest.
    """
    made.get("/healthz")
    wait_for(lambda: made.seen()[-1]["what"] == "asked", "the line of it", PATIENCE_S)
    before = len(made.seen())
    for _ in range(rounds * (made.sessions // made.routes)):
        made.exchange("renew")
    made.get("/healthz")
    line = wait_for(lambda: made.seen()[before:], "the line of it", PATIENCE_S)[0]
    return line["collections"]


def _note(told: dict[str, Any], seen: dict[str, Any]) -> None:
    for what in ("cpu", "longest"):
        if f"{what}_ms" in seen:
            told[what].append([round(seen[f"{what}_ms"], 3), round(seen["collecting_ms"], 3)])


def join(build: str, seen: dict[str, Any], collections: dict[str, tuple[int, float]], docs: Path) -> None:
    """Write it beside the figures of the bench, and the page anew."""
    data = json.loads((docs / bench.JSON).read_text())
    before = data.get("fleet", {})
    load = {**before.get("load", {}), build: round(os.getloadavg()[1], 1)}  # others are on the machine, and in its caches
    of_builds = {**before.get("collections", {}), build: collections}
    data["fleet"] = {**before, "routes": ROUTES, "sessions": SESSIONS, "load": load, "collections": of_builds, build: seen}
    bench.write(docs, data)


def main() -> None:
    build = "compiled" if about()["compiled"] == "true" else "pure"
    with fleet() as made:
        seen, collections = measured(made), collected(made)
    for what, told in seen.items():
        print(f"{what}: {in_all_ms(told):.0f} ms of the loop, longest turn {longest_ms(told):.1f} ms", flush=True)
    print(f"garbage collector: {collections}", flush=True)
    join(build, seen, collections, Path(sys.argv[1]) if len(sys.argv) > 1 else bench.DOCS)


if __name__ == "__main__":
    main()
