"""Where the guard listens itself. A route whose agent is there would dial the guard, and each session would make another one."""

import ipaddress
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from spoe_guard.address import Address
from spoe_guard.net.bind import Bound
from spoe_guard.net.dial import ends
from spoe_guard.net.resolver import Place, Places
from spoe_guard.net.route import Route

_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
_File = tuple[int, int]  # device and inode


class Step(NamedTuple):
    """``agent`` of the route ``name`` is where the route ``leads_to`` listens, which is ``listen``."""

    name: str
    agent: Address
    leads_to: str
    listen: Address


class OwnSockets:
    """The sockets in ``listening``, of any process of this guard. A name may come to stand for one of them at any time."""

    def __init__(self, listening: Iterable[Bound]) -> None:
        self._tcp: dict[int, list[tuple[str, Address, _Ip, bool]]] = {}  # by port; whether IPv4 comes there as well
        self._files: dict[_File, tuple[str, Address]] = {}
        for bound in listening:
            self.add(bound, bound.route.name)

    def add(self, bound: Bound, route: str) -> None:
        """Add one, which listens for ``route``."""
        sock, found = bound.sock, (route, bound.address)
        if sock.family != socket.AF_UNIX:
            where = sock.getsockname()
            both = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            self._tcp.setdefault(where[1], []).append((*found, _ip(where), both))
        elif (file := _file(sock.getsockname())) is not None:
            self._files[file] = found

    def at(self, family: int, where: Place) -> tuple[str, Address] | None:
        """Return the route whose socket a connection to ``where`` would reach, and where that listens; None: none of them.

        Nothing is sent. A Unix socket is told by its file, a TCP socket by the addresses that the connection would have.
        """
        if isinstance(where, str):
            file = _file(where)
            return None if file is None else self._files.get(file)
        candidates = self._tcp.get(where[1])
        both_ends = ends(family, where) if candidates else None
        if candidates is None or both_ends is None:
            return None
        own, other = map(_ip, both_ends)
        for name, listen, ip, both in candidates:
            if ip == other or (ip.is_unspecified and _is_here(own, other) and (ip.version == other.version or both)):
                return name, listen
        return None

    def way(self, start: Route, goal: str, routes: Mapping[str, Route], places: Mapping[Address, Places]) -> list[Step]:
        """Return how the agents of ``start`` lead to the route ``goal``, step by step; empty if they do not.

        ``routes``: all, by name; ``places``: what their agents' addresses stand for, as far as they resolve.
        """
        ways = [[step] for step in self._steps(start, places)]
        seen: set[str] = set()
        while ways:
            way = ways.pop(0)
            there = way[-1].leads_to
            if there == goal:
                return way
            if there not in seen:
                seen.add(there)
                ways += [[*way, step] for step in self._steps(routes[there], places)]
        return []

    def _steps(self, route: Route, places: Mapping[Address, Places]) -> Iterator[Step]:
        for agent in route.agent:
            for family, where in places.get(agent, ()):
                found = self.at(family, where)
                if found is not None:
                    yield Step(route.name, agent, *found)


def _is_here(own: _Ip, other: _Ip) -> bool:
    """Return whether a connection with these ends stays on this machine: the kernel dials its own addresses from themselves."""
    return own == other or other.is_loopback


def _ip(where: Place) -> _Ip:
    """Return the IP address of a socket name, an IPv4 address in IPv6 form as IPv4; a scope stays with it."""
    ip = ipaddress.ip_address(where[0])
    return getattr(ip, "ipv4_mapped", None) or ip


def _file(path: str | bytes) -> _File | None:
    """Return what identifies the file of a Unix socket; None for an abstract name, or if it is not there."""
    if os.fsencode(path)[:1] in (b"", b"\0"):
        return None
    try:
        found = Path(os.fsdecode(path)).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
