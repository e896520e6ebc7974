"""What one worker does when routes come or go: it takes the sockets that its parent opened, and uses them when told to."""

import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from spoe_guard.net.bind import ListenError
from spoe_guard.net.own_limits import shortage
from spoe_guard.run.process import Prepared, Process
from spoe_guard.run.workers.telling import heard
from spoe_guard.run.workers.worker_process import AT_ONCE

Given = Mapping[str, Any]
Answer = dict[str, str]  # an ``error``, or nothing


class Borrower:
    """``borrows``: where the sockets come."""

    def __init__(self, process: Process, borrows: socket.socket) -> None:
        borrows.setblocking(False)  # noqa: FBT003  the standard library's own signature
        self._process = process
        self._borrows = borrows
        self._prepared: Prepared | None = None
        self._answers: dict[str, Callable[[Given, Sequence[bytes]], Awaitable[Answer]]] = {
            "prepare": self._prepare,
            "use": self._use,
            "give_up": self._give_up,
        }

    def knows(self, what: str) -> bool:
        """Return whether ``ask`` answers that."""
        return what in self._answers

    async def ask(self, what: str, given: Given, parts: Sequence[bytes]) -> Answer:
        """Do what the parent asks for, and return what came of it. ``parts``: of the message, see ``channel``."""
        return await self._answers[what](given, parts)

    async def _prepare(self, given: Given, parts: Sequence[bytes]) -> Answer:
        """Take the sockets of ``given``, and listen on them."""
        self._drop()
        counts: Mapping[str, int] = given["sockets"]
        found = self._take(sum(counts.values()))
        if found is None:
            return {"error": shortage(errno.EMFILE)}
        rest = iter(found)
        lent = {name: [next(rest) for _ in range(count)] for name, count in counts.items()}
        try:
            self._prepared = await self._process.prepare(await heard(given["settings"], parts), lent)
        except ListenError as error:
            for sock in found:
                sock.close()
            return {"error": str(error)}
        return {}

    async def _use(self, _given: Given, _parts: Sequence[bytes]) -> Answer:
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return {"error": "nothing is prepared"}
        await self._process.use(prepared)
        return {}

    async def _give_up(self, _given: Given, _parts: Sequence[bytes]) -> Answer:
        self._drop()
        for sock in self._take(None) or ():
            sock.close()
        return {}

    def _drop(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            prepared.close()

    def _take(self, count: int | None) -> list[socket.socket] | None:
        """Return ``count`` sockets that wait, or however many do; None if there was no room for all of them."""
        found: list[socket.socket] = []
        whole = True
        while whole and (count is None or len(found) < count):
            try:
                _, descriptors, flags, _ = socket.recv_fds(self._borrows, 1, AT_ONCE)
            except OSError:  # nothing waits, or the parent is gone
                whole = count is None
                break
            found += [socket.socket(fileno=each) for each in descriptors]
            whole = not flags & socket.MSG_CTRUNC
        if whole:
            return found
        for sock in found:
            with contextlib.suppress(OSError):
                sock.close()
        return None
