"""One worker: a guard without an admin address that obeys its parent and ends with it."""

import asyncio
import ctypes
import os
import signal
import socket
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import Any, Final

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric

from spoe_guard.net import loop as event_loop
from spoe_guard.net.bind import ListenError
from spoe_guard.observe.logs import Log
from spoe_guard.observe.metrics import collected
from spoe_guard.observe.snapshot import take
from spoe_guard.run.inside import Inside
from spoe_guard.run.process import Process, ignore_signals, log_descriptor, log_on, stop_signals
from spoe_guard.run.workers.borrower import Borrower
from spoe_guard.run.workers.channel import Channel, Message, encoded
from spoe_guard.run.workers.telling import heard
from spoe_guard.settings import Settings
from spoe_guard.threads import NoThreadError

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_CLEAN: Final = 0
_NOT_CLEAN: Final = 1


def main(descriptor: int) -> int:
    """Work until told to stop; return the exit code."""
    # If the parent is gone before this call, its end of the channel is closed, and the worker ends for that.
    # Through ctypes because Python has no prctl; SIGKILL because a worker that hangs must not outlive its parent either.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the parent reloads for all workers
    ignore_signals()
    return event_loop.run(_main(socket.socket(fileno=descriptor)))


async def _main(sock: socket.socket) -> int:
    channel = await Channel.on(sock)
    given = await channel.receive()
    if given is None:
        return _NOT_CLEAN
    settings = await heard(given["settings"], given.get("parts", ()))
    try:
        with log_on(log_descriptor(), settings, shared=True, worker=given["worker"]) as log:
            return await _Worker(channel, settings, log, given).run()
    except NoThreadError as error:
        channel.send({"failed": error.strerror})
        await channel.flush()
        return _NOT_CLEAN


class _Worker:
    def __init__(self, channel: Channel, settings: Settings, log: Log, given: Message) -> None:
        self._channel = channel
        self._log = log
        self._number = given["worker"]
        lent = {route: [socket.socket(fileno=each) for each in numbers] for route, numbers in given["sockets"].items()}
        handover = Path(settings.handover_dir) if settings.handover_dir else None
        self._process = Process(
            settings,
            log,
            processes=given["workers"],
            reuse_port=True,
            handover=handover,
            lent=lent,
            drained=given["drained"],
        )
        self._process_metrics = ProcessCollector(registry=None)
        self._inside = Inside(self._process, self._number)
        self._borrower = Borrower(self._process, socket.socket(fileno=given["borrows"]))
        self._replying: set[asyncio.Task[None]] = set()
        self._telling = asyncio.Lock()
        self._stop = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        try:
            await self._process.start()
        except ListenError as error:
            self._channel.send({"failed": str(error)})
            await self._channel.flush()
            return _NOT_CLEAN
        self._channel.send({"listening": True})
        obeying = loop.create_task(self._obey())
        with stop_signals(self._log) as signals:
            # A signal to the worker itself (`kill`, or systemd's to the whole group) starts the drain, and a second one changes
            # nothing. Only the parent cuts the drain short: systemd signals both, so every stop would count as two signals.
            signalled = loop.create_task(signals.get())
            stopped = loop.create_task(self._stop.wait())
            await asyncio.wait((signalled, stopped), return_when=asyncio.FIRST_COMPLETED)
            await self._process.drain()
            for task in (signalled, stopped, obeying):
                task.cancel()
        self._process.close()
        await self._tell_numbers()
        await self._channel.flush()
        return _CLEAN

    async def _obey(self) -> None:
        while (message := await self._channel.receive()) is not None:
            if "ask" in message and self._borrower.knows(message["ask"]):  # the next message finds it done
                answer = await self._borrower.ask(message["ask"], message["given"], message.get("parts", ()))
                self._channel.send({"id": message["id"], "answer": answer})
            elif "ask" in message:
                self._reply(message)
            elif "settings" in message:
                settings = await heard(message["settings"], message.get("parts", ()))
                await self._process.use(await self._process.prepare(settings))
            elif message["stop"] == "now":
                self._process.guard.abort_all()
            if "stop" in message:
                self._stop.set()
        os._exit(_NOT_CLEAN)  # the parent is gone, and nobody else could stop this worker

    def _reply(self, message: Message) -> None:
        """Answer a question of the parent; what takes its time does not keep others waiting."""
        what, number = message["ask"], message["id"]
        if what == "numbers":
            self._later(self._tell_numbers(id=number, answer=True))
        elif self._inside.knows(what):
            self._later(self._reply_later(what, number, message["given"]))
        else:
            self._channel.send({"id": number, "answer": self._leave() if what == "leave" else None})

    def _later(self, answer: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(answer)
        self._replying.add(task)
        task.add_done_callback(self._replying.discard)

    async def _reply_later(self, what: str, number: int, given: Message) -> None:
        answer = await self._inside.ask(what, given)
        message = {"id": number, "answer": answer}
        if isinstance(answer, dict) and isinstance(rows := answer.get("rows"), list):  # and not of a route that is called so
            message = {"id": number, "answer": {**answer, "rows": []}, "parts": await encoded(rows)}
        self._channel.send(message)

    def _leave(self) -> bool:
        """Take no sessions from the other workers any more: all stop together."""
        self._process.guard.take_no_more()
        return True

    async def _tell_numbers(self, **more: object) -> None:
        """Send all counters of this process, and ``more``. Others have their turn in between.

        Numbers are told one after the other: the last that the parent hears of are the newest.
        """
        async with self._telling:
            routes = list(self._process.observer.routes.items())
            parts = await encoded(take(stats) for _name, stats in routes)
            used = _used(await collected(self._process_metrics))
            sessions = sum(stats.open for _name, stats in routes)
            numbers = {"process": used, "routes": [name for name, _stats in routes], "sessions": sessions}
            self._channel.send({**more, "numbers": numbers, "parts": parts})


def _used(families: Iterable[Metric]) -> dict[str, float]:
    return {sample.name: sample.value for family in families for sample in family.samples}
