"""Dials an agent: resolves names, tries each address in turn, and describes the failure.

The last address has no timeout here: the session has one, and cancels the task to give up the dial. Each address before it gets
an equal share of that time, so that one that swallows packets does not use it all up. A name that was never known has most of it
to be looked up, so that the failure names the resolver, and not an agent that nobody asked.
"""

import asyncio
import errno
import functools
import math
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from spoe_guard.address import Address
from spoe_guard.core.terms.events import DialFailure
from spoe_guard.net import own_limits
from spoe_guard.net.resolver import FILES, PATIENCE_S, Place, Places, resolve
from spoe_guard.threads import NoThreadError

T = TypeVar("T")
R = TypeVar("R")
Refuses = Callable[[int, Place], Awaitable[str]]  # takes address family and place, returns why not to dial it; empty: dial it

_REASONS: Final = {
    errno.ECONNREFUSED: DialFailure.REFUSED,
    errno.ETIMEDOUT: DialFailure.TIMEOUT,
    errno.ENETUNREACH: DialFailure.NO_ROUTE,
    errno.EHOSTUNREACH: DialFailure.NO_ROUTE,
    errno.ENETDOWN: DialFailure.NO_ROUTE,
    errno.EHOSTDOWN: DialFailure.NO_ROUTE,
    errno.EAFNOSUPPORT: DialFailure.NO_ROUTE,
    errno.EADDRNOTAVAIL: DialFailure.NO_ROUTE,
}
# For a Unix socket these mean that it does not exist, is something else, or may not be opened.
_NO_SOCKET: Final = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENOTSOCK, errno.EPROTOTYPE, errno.ELOOP)
)
_RESOLVER_SHARE: Final = 0.8  # of the time for an address: what a name may take; the rest is for the connection
_QUEUE_FULL_RETRY_S: Final = 0.01  # a Unix socket with a full accept queue returns EAGAIN and cannot be waited for


class DialError(Exception):
    """No address of the agent could be reached. ``reason`` is the last one's, ``detail`` has the system's error for each.

    ``last``: the detail of the last one alone.
    """

    def __init__(self, reason: DialFailure, detail: str, last: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.last = last or detail


class Dialled(NamedTuple):
    """A connection to an agent, and the address of it that answered. ``sock`` does not block; its owner closes it."""

    sock: socket.socket
    address: Address


Tried = Callable[[Address, DialError | None], None]


async def dial(
    addresses: Sequence[Address],
    within_s: float = math.inf,
    tried: Tried = lambda _address, _error: None,
    refuses: Refuses | None = None,
) -> Dialled:
    """Return a connection to the first of ``addresses`` that can be reached; the caller owns it.

    Every name is looked up anew. ``within_s``: the caller's timeout, shared out among the addresses. ``tried`` is called for each
    address that was tried, with its error or None. ``refuses``: says which places are the guard's own. Cancelling leaves nothing
    open.

    Raises:
        DialError: the reason.
    """

    async def reach(address: Address, within_s: float) -> Dialled:
        try:
            sock = await _reach(refuses, address, within_s)
        except DialError as error:
            tried(address, error)
            raise
        tried(address, None)
        return Dialled(sock, address)

    return await _first_of(addresses, within_s, str, reach, tried)


async def _reach(refuses: Refuses | None, address: Address, within_s: float) -> socket.socket:
    places = await _looked_up(address, within_s * _RESOLVER_SHARE)
    try:
        return await _first_of(places, within_s, lambda place: name(place[1]), functools.partial(_connected, refuses))
    except DialError as error:  # for one address the last place counts
        raise DialError(error.reason, error.last) from error


async def _looked_up(address: Address, within_s: float) -> Places:
    try:
        async with asyncio.timeout(None if within_s == math.inf else within_s):
            places = await resolve(address, min(PATIENCE_S, within_s / 2))
    except TimeoutError:
        raise DialError(DialFailure.UNRESOLVED, f"{address.host}: no answer from the resolver within {within_s:g} s") from None
    except NoThreadError as error:
        raise DialError(DialFailure.OWN_LIMIT, _words(error, address.host)) from error
    except OSError as error:
        # Short of descriptors a resolver says that the name is unknown, or that it should be asked again.
        if short := own_limits.shortage(error.errno) or own_limits.shortage(own_limits.lack(FILES)):
            raise DialError(DialFailure.OWN_LIMIT, f"{address.host}: {short}") from error
        raise DialError(DialFailure.UNRESOLVED, _words(error, address.host)) from error
    if not places:
        raise DialError(DialFailure.UNRESOLVED, f"{address.host}: no address")
    return places


async def _connected(refuses: Refuses | None, place: tuple[int, Place], _within_s: float) -> socket.socket:
    family, where = place
    if refuses is not None and (why := await refuses(family, where)):
        raise DialError(DialFailure.OURSELVES, f"{name(where)}: {why}")
    try:
        return await _connect(family, where)
    except OSError as error:
        if (short := own_limits.shortage(error.errno)) and not _lacks_source(error, family, where):
            raise DialError(DialFailure.OWN_LIMIT, f"{name(where)}: {short}") from error
        raise DialError(_reason(error, family), _words(error, name(where))) from error


async def _first_of(
    choices: Sequence[T],
    within_s: float,
    title: Callable[[T], str],
    reach: Callable[[T, float], Awaitable[R]],
    timed_out: Callable[[T, DialError], None] = lambda _choice, _error: None,
) -> R:
    """Return the result of ``reach`` for the first of ``choices`` that can be reached; each but the last gets an equal share."""
    if len(choices) == 1:
        return await reach(choices[0], within_s)
    share_s = within_s / len(choices)
    failures: list[tuple[DialFailure, str]] = []  # not the errors, whose tracebacks lead here: they would refer to themselves
    for index, choice in enumerate(choices):
        last = index == len(choices) - 1
        try:
            async with asyncio.timeout(None if last or share_s == math.inf else share_s):
                return await reach(choice, share_s)
        except TimeoutError:
            failures.append((DialFailure.TIMEOUT, f"{title(choice)}: no connection within {share_s:g} s"))
            timed_out(choice, DialError(*failures[-1]))
        except DialError as error:
            failures.append((error.reason, error.detail))
    raise DialError(failures[-1][0], "; ".join(detail for _, detail in failures), failures[-1][1])


async def _connect(family: int, where: Place) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if not own_limits.leaves(sock.fileno(), own_limits.reserve()):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))  # noqa: TRY301  as if it was the last one
        sock.setblocking(False)  # noqa: FBT003  the standard library's own signature
        code = await _outcome(sock, where)
        if code == 0 and met_itself(sock):
            code = errno.ECONNREFUSED
    except BaseException:
        sock.close()
        raise
    if code:
        sock.close()
        raise OSError(code, os.strerror(code))
    return sock


async def _outcome(sock: socket.socket, where: Place) -> int:
    """Connect, and return the errno, 0 on success."""
    code = sock.connect_ex(where)
    while code == errno.EAGAIN:
        await asyncio.sleep(_QUEUE_FULL_RETRY_S)
        code = sock.connect_ex(where)
    if code == errno.EINPROGRESS:
        code = sock.connect_ex(where)  # on the same host the result is often there already
    if code == errno.EALREADY:
        await _writable(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return 0 if code == errno.EISCONN else code


def met_itself(sock: socket.socket) -> bool:
    """Whether TCP connected to itself: nobody listens there and the kernel chose that very port for our end."""
    return sock.family != socket.AF_UNIX and sock.getsockname() == sock.getpeername()


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(sock, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_writer(sock)


def _settle(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


def _lacks_source(error: OSError, family: int, where: Place) -> bool:
    """Return whether this machine has no address to dial ``where`` from, such as ::1 without IPv6; else ports are out."""
    return error.errno == errno.EADDRNOTAVAIL and family != socket.AF_UNIX and ends(family, where) is None


def ends(family: int, where: Place) -> tuple[Place, Place] | None:
    """Return the addresses, own and other, that a TCP connection to ``where`` would have; None if there is no way there.

    The ports of UDP are not those of TCP, and no packet is sent.
    """
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(where)
            return probe.getsockname(), probe.getpeername()
    except OSError:
        return None


def _reason(error: OSError, family: int) -> DialFailure:
    if family == socket.AF_UNIX and error.errno in _NO_SOCKET:
        return DialFailure.NO_SOCKET
    return _REASONS.get(error.errno or 0, DialFailure.OTHER)


def _words(error: OSError, place: str) -> str:
    return f"{place}: {error.strerror or type(error).__name__}"


def name(where: Place) -> str:
    """Return ``where`` in readable form."""
    return str(Address(path=where) if isinstance(where, str) else Address(host=where[0], port=where[1]))
