"""Looks up names: one look-up per name at a time, shared by all who wait, and its last good answer while the resolver is silent.

The look-up itself is getaddrinfo(3), in threads of its own: only the C library reads /etc/hosts, nsswitch.conf and resolv.conf
(the search domains of Kubernetes) the way every other program of the machine does. c-ares (aiodns) needs no thread, but knows no
nsswitch module; docs/decisions/0011-names.md has more.
"""

import asyncio
import functools
import socket
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from spoe_guard.address import Address
from spoe_guard.net import own_limits
from spoe_guard.threads import NoThreadError, in_thread

Place = str | tuple[Any, ...]  # what connect(2) and bind(2) take: a path, or host and port plus what IPv6 adds
Places = Sequence[tuple[int, Place]]  # what an address stands for, each with its address family

FILES: Final = 4  # that a look-up may have open at a time
PATIENCE_S: Final = 0.25  # how long a name that is known waits for the resolver, before its last good answer is used
MOST_THREADS: Final = 32  # look-ups under way at a time; a name beyond waits, or uses its last good answer
MOST_NAMES: Final = 1024  # that are remembered; beyond, the one not asked for longest goes

# The resolver has said nothing of the name. EAI_AGAIN: no server answered, or SERVFAIL; EAI_FAIL: it refused; EAI_SYSTEM: errno.
_SILENT: Final = frozenset((socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM, socket.EAI_MEMORY))


class _Name:
    """What is known of ``host``. ``known``: its last good answer. ``asking``: the look-up under way, or waiting for a thread."""

    __slots__ = ("asking", "host", "known", "silent")

    def __init__(self, host: str) -> None:
        self.host = host
        self.known: Places | None = None
        self.asking: asyncio.Future[Places] | None = None
        self.silent = False  # the last look-up brought nothing, or the one under way takes long


class Resolver:
    """The names of one process, on the running event loop."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, _Name] = OrderedDict()
        self._queue: deque[_Name] = deque()
        self._threads = 0
        self._tell: Callable[[str], None] = lambda _host: None

    def watch(self, tell: Callable[[str], None]) -> None:
        """Call ``tell`` with each name whose last good answer begins to be used, because the resolver is silent about it."""
        self._tell = tell

    async def look_up(self, host: str, patience_s: float = PATIENCE_S) -> Places:
        """Return the addresses of ``host`` with port 0, in the system's order of preference.

        A name that was known is answered within ``patience_s``; at once if the resolver was silent about it the last time.
        Cancelling leaves the look-up to the others.

        Raises:
            NoThreadError: the guard can start no thread, and the name was not known.
            OSError: the name does not resolve (``socket.gaierror``).
        """
        name = self._name(host)
        asking = name.asking or self._ask(name)
        if name.known is not None:
            await asyncio.wait((asking,), timeout=0 if name.silent else patience_s)
            if not asking.done():
                self._note(name, silent=True)
                return name.known
        await asyncio.wait((asking,))  # and not the future itself: it is not ours to cancel
        try:
            return asking.result()
        finally:
            del asking, name  # an error has them in its traceback, and they have the error

    def _name(self, host: str) -> _Name:
        name = self._names.get(host)
        if name is None:
            if len(self._names) >= MOST_NAMES:
                self._forget_one()
            name = self._names[host] = _Name(host)
        self._names.move_to_end(host)
        return name

    def _forget_one(self) -> None:
        """Forget the name not asked for longest; one that is being asked for stays, so that it is not asked for twice."""
        idle = (host for host, name in self._names.items() if name.asking is None)
        if (host := next(idle, None)) is not None:
            del self._names[host]

    def _note(self, name: _Name, *, silent: bool) -> None:
        if silent and not name.silent and name.known is not None:
            self._tell(name.host)
        name.silent = silent

    def _ask(self, name: _Name) -> "asyncio.Future[Places]":
        name.asking = asking = asyncio.get_running_loop().create_future()
        asking.add_done_callback(_seen)
        self._queue.append(name)
        self._start()
        return asking

    def _start(self) -> None:
        """Start the look-ups that wait, as far as there are threads."""
        while self._queue and self._threads < MOST_THREADS:
            name = self._queue.popleft()
            try:
                thread = in_thread(functools.partial(_places, name.host), f"resolver {name.host}")
            except NoThreadError as error:
                self._answered(name, error)
                continue
            self._threads += 1
            thread.add_done_callback(functools.partial(self._ended, name))

    def _ended(self, name: _Name, thread: "asyncio.Future[Places]") -> None:
        self._threads -= 1
        if not thread.cancelled():  # the loop ends
            self._answered(name, thread.exception() or thread.result())
        self._start()

    def _answered(self, name: _Name, answer: Places | BaseException) -> None:
        asking, name.asking = name.asking, None
        self._note(name, silent=isinstance(answer, BaseException) and _is_silent(answer))
        if not name.silent:
            name.known = None if isinstance(answer, BaseException) else answer
        if asking is None or asking.done():
            return
        if name.known is not None:
            asking.set_result(name.known)
        elif isinstance(answer, BaseException):
            asking.set_exception(answer)


def _is_silent(error: BaseException) -> bool:
    """Return whether ``error`` says nothing of the name: short of descriptors, the C library may call any name unknown."""
    if not isinstance(error, socket.gaierror):
        return isinstance(error, OSError)
    return error.errno in _SILENT or own_limits.lack(FILES) != 0


def _places(host: str) -> Places:
    """Ask the system; blocks for as long as its resolver takes."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:  # a name that no resolver accepts, for example one with an empty label
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
    except socket.gaierror as error:
        if error.errno in _SILENT:
            raise socket.gaierror(error.errno, f"the resolver has no answer for now ({error.strerror})") from None
        raise
    return [(family, where) for family, _type, _protocol, _name, where in found]


def _seen(asking: "asyncio.Future[Places]") -> None:
    """Fetch the error: it is no bug if nobody waits for it any more."""
    if not asking.cancelled():
        asking.exception()


async def resolve(address: Address, patience_s: float = PATIENCE_S) -> Places:
    """Return every address ``address`` resolves to, in the system's order of preference. ``patience_s``: see ``look_up``.

    Raises:
        NoThreadError: the guard can start no thread, and the name was not known.
        OSError: the name does not resolve (``socket.gaierror``).
    """
    if address.path is not None:
        return [(socket.AF_UNIX, address.path)]
    numeric = _numeric(address.host, address.port)
    if numeric is not None:
        return [numeric]
    found = await of_this_process().look_up(address.host, patience_s)
    return [(family, (where[0], address.port, *where[2:])) for family, where in found]


def of_this_process() -> Resolver:
    """Return the resolver of all that dials on the running event loop."""
    return _of(asyncio.get_running_loop())


@functools.lru_cache(maxsize=1)  # a process has one loop, and one resolver for all that dials there
def _of(_loop: asyncio.AbstractEventLoop) -> Resolver:
    return Resolver()


@functools.lru_cache(maxsize=256)  # the result never changes, and each session asks
def _numeric(host: str, port: int) -> tuple[int, Place] | None:
    """Return the place of a numeric address, which needs no resolver and no thread; None for a name."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        return None
    family, _type, _protocol, _name, where = found[0]
    return family, where
