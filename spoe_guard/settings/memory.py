"""How much memory this process may use, and how much of it sessions may hold back."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from spoe_guard.settings.model import Settings

TOTAL_BYTES: Final = 256 * 1024 * 1024  # limits.total_bytes where there is no limit of memory
_SHARE: Final = 4  # of a limit, sessions hold back a quarter: the process itself takes 50 MB, the recorder 64 MiB
_ROOT: Final = Path("/sys/fs/cgroup")
_OWN: Final = Path("/proc/self/cgroup")
_NONE: Final = 1 << 60  # version 1 writes the largest number there is for no limit


def memory_limit(root: Path = _ROOT, own: Path = _OWN) -> int | None:
    """Return the limit of memory, in bytes, of the cgroup this process is in, or of one around it; None: there is none.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst, memory.max; cgroup-v1/memory.rst, memory.limit_in_bytes.
    """
    return min((limit for file in _files(root, own) if (limit := _read(file)) is not None), default=None)


def total_bytes(settings: Settings, processes: int = 1) -> int:
    """Return how many bytes the sessions of one of ``processes`` may hold back: an even share of ``limits.total_bytes``."""
    whole = settings.limits.total_bytes
    if whole is None:
        limit = memory_limit()
        whole = TOTAL_BYTES if limit is None else limit // _SHARE
    return max(whole // processes, 1)


def _files(root: Path, own: Path) -> Iterator[Path]:
    """Yield where the limits stand: of each cgroup from the innermost outwards, as far as it can be seen from here."""
    try:
        lines = own.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        inner = PurePosixPath(path)
        for folder in (inner, *inner.parents):
            if ".." not in folder.parts:  # a cgroup outside of the namespace
                yield base / folder.relative_to("/") / name


def _read(file: Path) -> int | None:
    try:
        limit = int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # it is not there, or says "max"
        return None
    return limit if limit < _NONE else None
