"""What the guard itself may be short of, and what to raise: file descriptors, memory, local ports. No agent is to blame."""

import errno
import resource
import socket
from pathlib import Path
from typing import Final

# Descriptors that agent links leave to others, so that metrics, captures and the resolver work when sessions are short of them.
RESERVED: Final = 32
ACCEPT_RESERVES: Final = 2  # times RESERVED that connections of HAProxy leave: links that replace lost ones come first
_SHARE: Final = 8  # of a low limit only an eighth is reserved, or spent on connections that are not served

PAUSE_S: Final = 0.1  # with no descriptor or memory left, accepting again at once would fail again, and spin
NO_ROOM: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

_PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FILES: Final = Path("/proc/sys/fs/file-max")
_OPEN_FILES: Final = Path("/proc/self/fd")
_MEMORY: Final = Path("/sys/fs/cgroup/memory.max")  # of a container or a unit: bytes, or "max"


def shortage(code: int | None) -> str:
    """Return what the guard is short of if a system call failed with the errno ``code``, the limit, and what to raise.

    Empty: the guard lacks nothing. The kernel also says EADDRNOTAVAIL if it has no source address for a destination; the caller
    has to rule that out.
    """
    if code == errno.EMFILE:
        limit = _open_files()
        return f"the guard has no file descriptor left of {limit} (RLIMIT_NOFILE); raise LimitNOFILE= of the unit, or ulimit -n"
    if code == errno.ENFILE:
        return f"this machine has no file descriptor left of {_read(_FILES)} (fs.file-max); raise it"
    if code == errno.EADDRNOTAVAIL:
        ports = "-".join(_read(_PORTS).split())
        return f"the guard has no local port left of {ports} (net.ipv4.ip_local_port_range); widen it, or use a Unix socket"
    if code in NO_ROOM:
        limit = _read(_MEMORY)
        return f"the guard has no memory left for a socket (memory.max: {limit}); raise that, or net.ipv4.tcp_mem"
    return ""


def reserve() -> int:
    """Return RESERVED, or less under a low limit."""
    limit = _limit()
    return RESERVED if limit is None else min(RESERVED, limit // _SHARE)


def affordable(most: int) -> int:
    """Return ``most``, or an eighth of a low limit: how many descriptors may be spent on connections that are not served."""
    limit = _limit()
    return most if limit is None else min(most, limit // _SHARE)


def leaves(descriptor: int, spare: int) -> bool:
    """Return whether ``spare`` more descriptors can be had beside ``descriptor``, which is the latest.

    The kernel gives out the lowest free number, so those below it are in use. Those above it may be, too: Linux 6.2 and later say
    how many are open (proc(5), the size of /proc/pid/fd); before that they are not counted.
    """
    limit = _limit()
    if limit is None:
        return True
    try:
        opened = _OPEN_FILES.stat().st_size
    except OSError:
        opened = 0
    return max(descriptor + 1, opened) + spare <= limit


def lack(spare: int) -> int:
    """Return 0 if a descriptor can be had and ``spare`` more, else the errno that says why not."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            return 0 if leaves(probe.fileno(), spare) else errno.EMFILE
    except OSError as error:
        return error.errno or errno.EMFILE


def _limit() -> int | None:
    """Return how many descriptors this process may have; None: any number."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if limit == resource.RLIM_INFINITY else limit


def _open_files() -> str:
    limit = _limit()
    return "any number" if limit is None else str(limit)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:  # it is not there, or there is no descriptor to read it with
        return "unknown"
