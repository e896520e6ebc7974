"""The parent's view of one worker process, from start to end."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from time import monotonic
from typing import Any, Final

from spoe_guard.run.workers.channel import Channel, Message, decoded
from spoe_guard.run.workers.telling import Told
from spoe_guard.run.workers.totals import Numbers

PROGRAM: Final = ("-P", "-m", "spoe_guard.run.workers")  # -P: the search path is the parent's, not the working directory
AT_ONCE: Final = 200  # sockets in one message; the kernel takes 253 (SCM_MAX_FD)
MOST_ASKED: Final = 64  # open questions; more than the admin address has connections for scrapes
_LAST_WORDS_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.005  # polling, because pidfd_open(2) is not available everywhere


class WorkerProcess:
    """``listening`` gives None when it listens, or why it cannot. ``over`` ends with the process; await ``end`` then.

    ``numbers``: the latest. ``misses``: unanswered questions in a row, since ``heard_at`` (monotonic seconds).
    """

    def __init__(self, number: int, process: subprocess.Popen[bytes], channel: Channel, lending: socket.socket) -> None:
        self.number = number
        self.process = process
        self.began = self.heard_at = monotonic()
        self.numbers: Numbers | None = None
        self.misses = 0
        self.listens = False
        loop = asyncio.get_running_loop()
        self.listening: asyncio.Future[str | None] = loop.create_future()
        self._channel = channel
        self._lending = lending
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0
        self.over = loop.create_task(self._follow())

    @property
    def well(self) -> bool:
        """Whether it listens and answered the last question."""
        return self.listens and not self.misses

    async def ask(self, what: str, within_s: float, given: Message | None = None, parts: Sequence[bytes] = ()) -> Any:  # noqa: ANN401  whatever JSON carries
        """Return its answer to ``what``, asked with ``given`` and ``parts``; None if it does not know it, or not ``within_s``."""
        if not self.listens or len(self._asked) >= MOST_ASKED:
            return None
        self._last_id += 1
        number, answer = self._last_id, asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        self._channel.send({"ask": what, "id": number, "given": given or {}, "parts": parts})
        try:
            return await asyncio.wait_for(answer, within_s)
        except TimeoutError:
            self.misses += 1
            return None
        finally:
            self._asked.pop(number, None)

    def lend(self, descriptors: Sequence[int]) -> None:
        """Send it sockets, which wait for it to take them.

        Raises:
            OSError: they cannot be sent.
        """
        for at in range(0, len(descriptors), AT_ONCE):
            socket.send_fds(self._lending, [b"."], descriptors[at : at + AT_ONCE])

    def reload(self, told: Told) -> None:
        """Send it new settings."""
        self._channel.send({"settings": told.settings, "parts": told.parts})

    def stop(self, how: str) -> None:
        """Tell it to drain (``drain``), or to end its sessions at once (``now``)."""
        self._channel.send({"stop": how})

    async def end(self) -> str:
        """Wait for its end and return how it ended, as text. After ``_LAST_WORDS_S``, which are for its log, it is killed."""
        deadline = monotonic() + _LAST_WORDS_S
        while (code := self.process.poll()) is None:
            if monotonic() >= deadline:
                self.process.kill()
            await asyncio.sleep(_LOOK_EVERY_S)
        self._channel.close()
        self._lending.close()
        if not self.listening.done():
            self.listening.set_result(_words(code))
        return _words(code)

    async def _follow(self) -> None:
        while (message := await self._channel.receive()) is not None:
            self.heard_at, self.misses = monotonic(), 0
            await self._take(message)
        self.listens = False
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result(None)

    async def _take(self, message: Message) -> None:
        parts = message.get("parts", ())
        if "numbers" in message:  # late ones, too
            self.numbers = Numbers.of(message["numbers"], parts)
        elif parts:
            message["answer"]["rows"] = await decoded(parts)
        if "id" in message:
            answer = self._asked.get(message["id"])
            if answer is not None and not answer.done():
                answer.set_result(message["answer"])
        elif "numbers" not in message and not self.listening.done():
            self.listens = "listening" in message
            self.listening.set_result(None if self.listens else message["failed"])


async def start(
    number: int, given: Message, lent: Mapping[str, Sequence[int]], log: int, program: tuple[str, ...] = PROGRAM
) -> WorkerProcess:
    """Start worker ``number``. ``given``: its first message, see ``channel``, but for what is its own.

    ``lent``: socket descriptors by route; ``log``: descriptor of the log.

    Raises:
        OSError: the process, or a descriptor for it, cannot be created.
    """
    ours, its = socket.socketpair()
    try:
        lending, borrowing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError:
        ours.close()
        its.close()
        raise
    lending.setblocking(False)  # noqa: FBT003  the standard library's own signature
    try:
        with its, borrowing:
            # In its own process group: a terminal's Ctrl-C is for the parent, which passes it on.
            process = subprocess.Popen(  # noqa: S603, ASYNC220  our own program; it returns once the program is there
                [sys.executable, *program, str(its.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                pass_fds=(its.fileno(), borrowing.fileno(), *chain.from_iterable(lent.values())),
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                process_group=0,
            )
            borrows = borrowing.fileno()
    except OSError:
        ours.close()
        lending.close()
        raise
    channel = await Channel.on(ours)
    channel.send({**given, "worker": number, "sockets": lent, "borrows": borrows})
    return WorkerProcess(number, process, channel, lending)


def _words(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
