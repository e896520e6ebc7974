"""What systemd gives a service it starts, and wants to be told by it: sockets, readiness, life signs.

Source: sd_notify(3) and sd_listen_fds(3). Without systemd nothing is given and nobody is told.
"""

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping, MutableMapping
from time import monotonic
from typing import Final

from spoe_guard.address import Address
from spoe_guard.net.bind import address_of
from spoe_guard.settings import Settings

FIRST_DESCRIPTOR: Final = 3  # SD_LISTEN_FDS_START
ADMIN: Final = "admin"  # the name of admin.listen's socket, unless a route has that name
ADMIN_LISTEN: Final = ""  # stands for it beside the names of routes, of which none is empty
MAX_STATUS: Final = 400  # characters; one line of `systemctl status`
_PINGS: Final = 4  # in the time after which the service counts as dead


class NotWantedError(Exception):
    """A socket that was given is of no use. The text says which one, why, and what to do."""


class ServiceManager:
    """Whom to tell how the service does. ``watchdog_s``: after how long without ``WATCHDOG=1`` it counts as dead; None: never."""

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address is not None and address.startswith("@") else address
        self.watchdog_s = watchdog_s
        self._serving = ""
        self._stopping = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "ServiceManager":
        """Return the one that has started this process, if any."""
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environ.get("WATCHDOG_USEC", "")
        watchdog_s = int(microseconds) / 1e6 if ours and microseconds.isdigit() and int(microseconds) else None
        return cls(environ.get("NOTIFY_SOCKET") or None, watchdog_s)

    def ready(self, status: str) -> None:
        """The service serves."""
        self._serving = status
        self._tell("READY=1", _status(status))

    def reloading(self) -> None:
        """It reads its settings again. ``reloaded`` follows, whatever comes of it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={int(monotonic() * 1e6)}")

    def reloaded(self, fault: str = "") -> None:
        """It serves on, with the settings it had where there is a ``fault``. Who is stopping is not ready any more."""
        if not self._stopping:
            self._tell("READY=1", _status(f"The last reload failed: {fault}. {self._serving}" if fault else self._serving))

    def stopping(self, status: str) -> None:
        """It ends."""
        self._stopping = True
        self._tell("STOPPING=1", _status(status))

    async def keep(self) -> None:
        """Give life signs, on the event loop that does the work, until cancelled: where that stands still there are none."""
        while self.watchdog_s is not None:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / _PINGS)

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)  # noqa: FBT003  the standard library's own signature
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError:  # gone, or too busy to listen: no reason not to serve
            pass


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:MAX_STATUS]}"


def given_sockets(settings: Settings, environ: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """Take the sockets that the service manager has opened for this process, and what says so out of ``environ``.

    They listen already. One is for the route that has its name (``FileDescriptorName``), or else that listens at its address;
    the route's name is its key, or ADMIN_LISTEN.

    Raises:
        NotWantedError: one is for nobody, for somebody who has one, or no listening stream socket.
    """
    pid, count, names = (environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    given: dict[str, socket.socket] = {}
    for descriptor, name in zip(range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count)), _padded(names), strict=False):
        sock = _listening(descriptor, name)
        where = address_of(sock)
        whose = _whose(settings, name, where)
        if whose is None:
            raise NotWantedError(
                f"socket {name!a} at {where} of the service manager: no route has this name or listens there; "
                f"say FileDescriptorName= and the name of a route, or {ADMIN}"
            )
        if whose in given:
            raise NotWantedError(f"socket {name!a} at {where} of the service manager: {whose or ADMIN} has one already")
        given[whose] = sock
    return given


def _padded(names: str) -> Iterator[str]:
    yield from names.split(":") if names else ()
    while True:
        yield "unknown"  # as sd_listen_fds_with_names(3) has it


def _listening(descriptor: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)  # noqa: FBT003  the standard library's own signature
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)  # noqa: FBT003  the standard library's own signature
        if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return sock
    except OSError:
        pass
    raise NotWantedError(f"descriptor {descriptor} ({name!a}) of the service manager: expected ListenStream= and Accept=no")


def _whose(settings: Settings, name: str, where: Address) -> str | None:
    by_name = {ADMIN: ADMIN_LISTEN} if settings.admin.listen is not None else {}
    by_name |= {route.name: route.name for route in settings.routes}
    by_address = {settings.admin.listen: ADMIN_LISTEN} | {route.listen: route.name for route in settings.routes}
    return by_name.get(name, by_address.get(where))
