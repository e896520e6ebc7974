"""Replays one side of a capture: dials an agent, or listens for HAProxy."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from spoe_guard.address import Address
from spoe_guard.capture.files.cut import Cut, Cutter
from spoe_guard.capture.files.model import CaptureError, End
from spoe_guard.capture.tell.script import Step
from spoe_guard.counted import counted
from spoe_guard.lab.streams import reset
from spoe_guard.observe.frame_text import describe, type_name
from spoe_guard.wire import frame

_READ_BYTES: Final = 65536

Say = Callable[[str], None]


class _Player:
    """Plays ``steps`` on one connection. ``speed``: 2 is twice as fast, 0 does not pause at all.

    ``patience_s``: seconds to wait for the frames that the other side sent in the recording, before it continues without them.
    """

    def __init__(self, steps: list[Step], speed: float, patience_s: float, say: Say) -> None:
        self._steps = steps
        self._speed = speed
        self._patience_s = patience_s
        self._say = say
        self._heard = 0  # frames received
        self._notifies: list[tuple[int, int]] = []
        self._more = asyncio.Event()
        self._gone = False

    async def play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Write every step; then read until the other side closes, or sends nothing for ``patience_s`` seconds."""
        listening = asyncio.get_running_loop().create_task(self._listen(reader))
        ended = False
        try:
            for step in self._steps:
                await self._wait_for(step)
                written = b"".join(part.live(self._notifies) for part in step.parts)
                if written:
                    self._say(f"> {counted(len(written), 'byte')}")
                    writer.write(written)
                    await writer.drain()
                ended = ended or self._end(writer, step.end)
            await asyncio.wait([listening], timeout=self._patience_s)
        except ConnectionError as error:
            self._say(f"# the other side is gone: {error.strerror or type(error).__name__}")
        finally:
            listening.cancel()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _end(self, writer: asyncio.StreamWriter, end: End | None) -> bool:
        if end is None:
            return False
        self._say(f"> {end.value}")
        if end is End.RESET:
            reset(writer)
        elif not writer.is_closing():
            writer.close()  # agents close both directions; a half-close would change the replay
        return True

    async def _wait_for(self, step: Step) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                while self._heard < step.after and not self._gone:
                    self._more.clear()
                    await self._more.wait()
        if self._heard < step.after:
            missing = counted(step.after - self._heard, "frame of the recording has", "frames of the recording have")
            self._say(f"# going on, though {missing} not come")
        if self._speed and step.pause_s:
            await asyncio.sleep(step.pause_s / self._speed)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        cutter = Cutter()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_READ_BYTES):
                for cut in cutter.feed(data):
                    self._take(cut)
                self._more.set()
        for cut in cutter.finish():
            self._take(cut)
        self._say("< closed")
        self._gone = True
        self._more.set()

    def _take(self, cut: Cut) -> None:
        self._heard += 1
        if cut.frame is None:
            self._say(f"< {cut.why}: {cut.raw[:64].hex()}")
            return
        if cut.frame.type == frame.NOTIFY:
            self._notifies.append((cut.frame.stream_id, cut.frame.frame_id))
        ids = f" {cut.frame.stream_id}.{cut.frame.frame_id}"
        self._say(f"< {type_name(cut.frame.type)}{ids if ids != ' 0.0' else ''} {describe(cut.frame)}")


async def to_agent(steps: list[Step], address: Address, speed: float, patience_s: float, say: Say) -> None:
    """Dial the agent and replay HAProxy's side.

    Raises:
        CaptureError: it cannot be reached.
    """
    try:
        async with asyncio.timeout(patience_s):
            if address.path is not None:
                streams = await asyncio.open_unix_connection(address.path)
            else:
                streams = await asyncio.open_connection(address.host, address.port)
    except TimeoutError:
        raise CaptureError(f"{address}: not connected within {patience_s:g} s") from None
    except OSError as error:
        raise CaptureError(f"{address}: cannot be reached: {error.strerror or error}") from None
    await _Player(steps, speed, patience_s, say).play(*streams)


async def to_haproxy(steps: list[Step], address: Address, speed: float, patience_s: float, say: Say) -> None:
    """Listen where HAProxy expects its agent, and replay the agent's side on each connection until one replay is complete.

    Raises:
        CaptureError: it cannot listen there.
    """
    played = asyncio.Event()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Player(steps, speed, patience_s, say).play(reader, writer)
        played.set()

    try:
        if address.path is not None:
            server = await asyncio.start_unix_server(accepted, address.path)
        else:
            server = await asyncio.start_server(accepted, address.host, address.port)
    except OSError as error:
        raise CaptureError(f"{address}: cannot listen: {error.strerror or error}") from None
    where = address if address.path is not None else Address(*server.sockets[0].getsockname()[:2])
    say(f"# waiting for HAProxy on {where}")
    try:
        await played.wait()
    finally:
        server.close()
