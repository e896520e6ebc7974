"""Captures on disk: one thread writes them, off the data path, and keeps the folder within its bounds."""

import contextlib
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Full, Queue
from typing import Final

from spoe_guard import threads
from spoe_guard.capture.files.pcapng import packets
from spoe_guard.capture.record.capture_job import CaptureJob
from spoe_guard.observe.limit import RateLimit
from spoe_guard.observe.stats import RouteStats
from spoe_guard.options import DEFAULT_PAYLOAD, Payload

WAITING: Final = 8  # captures in the queue
FAULT_EVERY_S: Final = 60.0  # at most one log line about a failed write per period
_PATTERN: Final = "spoe-guard-*.pcapng*"
_OURS: Final = re.compile(r"spoe-guard-\d{8}T\d{6}\.\d{6}Z-.+-\d+-[a-z0-9_]+-\d+\.pcapng(\.part)?", re.ASCII)  # see _name
_PART: Final = ".part"
_BLOCK_BYTES: Final = 512  # the unit of st_blocks, stat(2)
# How often to ask for the lock, and how long to wait before the next time. Another process of ours has it for milliseconds; but
# whoever may list the folder may lock it, too, and for as long as they like.
_LOCK_TRIES: Final = 10
_LOCK_EVERY_S: Final = 0.01
# The thread sleeps between two packets: it holds Python's lock while it computes, and traffic would wait.
_BREATH_S: Final = 0.0001

Say = Callable[[str, str, dict[str, object]], None]  # level, event, fields; called on the thread
Wrote = Callable[[CaptureJob, dict[str, object]], None]  # fields of the log line; called on the thread


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder for captures and its bounds: the newest ``files`` stay, with at most ``max_bytes`` together."""

    path: Path
    files: int
    max_bytes: int
    payload: Payload = DEFAULT_PAYLOAD


class Store:
    """Takes captures with ``submit``, which never waits, and writes them. ``stats`` counts them, by route.

    ``wrote`` is told of each that is written, and logs it; without it ``say`` does.

    Raises:
        NoThreadError: the thread that writes cannot be started.
    """

    def __init__(
        self, folder: Folder, stats: Mapping[str, RouteStats], say: Say, wrote: Wrote | None = None, *, waiting: int = WAITING
    ) -> None:
        self.folder = folder  # the event loop may replace it; each capture uses one throughout
        self._stats = stats
        self._say = say
        self._wrote = wrote or (lambda _take, fields: say("info", "capture_written", fields))
        self._faults: RateLimit[str] = RateLimit(1, FAULT_EVERY_S, time.monotonic)
        self._queue: Queue[CaptureJob | None] = Queue(waiting)
        self._thread = threads.start(self._run, "captures")

    def submit(self, take: CaptureJob) -> bool:
        """Queue a capture; return False, at once, if there is no room for it."""
        try:
            self._queue.put_nowait(take)
        except Full:
            return False
        return True

    def close(self, timeout_s: float) -> bool:
        """Wait until the queued captures are written, at most ``timeout_s`` seconds; return whether it was."""
        with contextlib.suppress(Full):
            self._queue.put(None, timeout=timeout_s)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (take := self._queue.get()) is not None:
            stats = self._stats[take.route]
            try:
                path, size = self._write(take)
            except OSError as error:
                stats.captures_dropped["disk",] += 1
                self._fault(take, error.strerror or type(error).__name__)
            except Exception as error:  # noqa: BLE001  our own bug: lose the capture, not the guard
                stats.captures_dropped["error",] += 1
                self._fault(take, type(error).__name__)  # its message may quote what is captured
            else:
                stats.captures_written += 1
                about = {"route": take.route, "session": take.session, "anomaly": take.why}
                self._wrote(take, {**about, "file": str(path), "bytes": size})

    def _fault(self, take: CaptureJob, why: str) -> None:
        if self._faults.allows("disk"):
            fields: dict[str, object] = {"route": take.route, "session": take.session, "dir": str(self.folder.path)}
            self._say("warning", "capture_failed", {**fields, "error": why})

    def _write(self, take: CaptureJob) -> tuple[Path, int]:
        """Write the file under another name first, so that nobody ever sees half a file."""
        folder = self.folder
        parts = []
        for packet in packets(take.capture(folder.payload)):
            parts.append(packet)
            time.sleep(_BREATH_S)
        data = b"".join(parts)
        path = folder.path / _name(take)
        with _alone(folder.path):
            _rotate(folder, len(data))
            _write(path, data)
        return path, len(data)


def _rotate(folder: Folder, size: int) -> None:
    """Remove the oldest files until there is room for one more of ``size`` bytes.

    Raises:
        OSError: there is none, because captures cannot be removed.
    """
    paths = sorted(folder.path.glob(_PATTERN))  # the names begin with the time
    there = [(path, bytes_) for path in paths if (bytes_ := _taken_by(path)) is not None]
    count, total = len(there), sum(bytes_ for _, bytes_ in there)
    stay: OSError | None = None
    for path, bytes_ in there:
        if count < folder.files and total + size <= folder.max_bytes:
            return
        try:
            path.unlink(missing_ok=True)
        except OSError as error:  # immutable, for instance
            stay = error
            continue
        count, total = count - 1, total - bytes_
    if stay is not None and (count >= folder.files or total + size > folder.max_bytes):
        raise stay


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lock out other processes that write to ``folder``: otherwise each would see room for one more.

    If the folder cannot be opened or locked, the write goes on: then there may be one file too many for a while.
    """
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            held.callback(os.close, descriptor := os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            _lock(descriptor)
        yield


def _lock(descriptor: int) -> None:
    """Lock the folder, unless somebody else has it locked for too long.

    Raises:
        OSError: it cannot be locked.
    """
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_EVERY_S)
        else:
            return


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + _PART)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)
        part.rename(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _taken_by(path: Path) -> int | None:
    """Return how many bytes of the disk a capture of ours takes; None: it is none, and neither counts nor is removed.

    In a folder that others may write to, a file may have such a name and any size. A sparse one takes no bytes.
    """
    try:
        found = path.lstat()
    except OSError:  # another guard, or an operator, removed it first
        return None
    ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and _OURS.fullmatch(path.name)
    if not ours or (found.st_size and not found.st_blocks):
        return None
    return min(found.st_size, found.st_blocks * _BLOCK_BYTES)


def _name(take: CaptureJob) -> str:
    """Return the file's name; names are unique and sort by time."""
    when = datetime.fromtimestamp(take.made_at, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return f"spoe-guard-{when}-{take.route}-{take.session}-{take.why}-{os.getpid()}.pcapng"
