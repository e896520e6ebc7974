"""HAProxy's side by hand: sends NOTIFYs, or health checks, and says what came back and how long it took."""

import asyncio
import contextlib
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from spoe_guard.address import Address
from spoe_guard.counted import counted
from spoe_guard.lab import frames, values
from spoe_guard.lab.engine import Engine
from spoe_guard.lab.serve import STOP_SIGNALS
from spoe_guard.wire import actions, frame, kv, messages, typed_data, walk

MOST_ARGUMENTS: Final = 255  # of a message: their number is one byte
MOST_OPEN: Final = 4096  # questions at a time; the next one waits for an answer, or for its timeout
MOST_STRAYS: Final = 10  # frames that answer nothing, of which a line tells
_MOST_TEXT: Final = 64  # bytes of a value that are shown
_SCOPE_NAMES: Final = {number: name for name, number in values.SCOPES.items()}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask: ``count`` NOTIFYs with this message, ``rate`` of them a second, spread over ``connections``.

    Each may take ``timeout_s`` seconds. ``check``: health checks in place of NOTIFYs, each on a connection of its own.
    """

    message: bytes = b"check"
    arguments: Sequence[kv.Pair] = ()
    count: int = 10
    rate: float = 10.0
    connections: int = 1
    timeout_s: float = 1.0
    family: frames.Family = frames.Family.MUX
    check: bool = False


@dataclass(slots=True)
class Result:
    """What came of it: the seconds that each answer took, how often there was none, and frames that answered nothing."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    strays: int = 0

    def summary(self, plan: Plan) -> str:
        """Return it in one line."""
        asked = len(self.seconds) + self.failed
        question, answer = ("health check", "AGENT-HELLO") if plan.check else ("NOTIFY", "ACK")
        text = f"{counted(asked, question)}, {counted(len(self.seconds), answer)}, {self.failed} without"
        if self.strays:
            text += f", {counted(self.strays, 'frame')} that answered nothing"
        if self.seconds:
            least, median, most = min(self.seconds), statistics.median(self.seconds), max(self.seconds)
            text += f"; least {_ms(least)}, median {_ms(median)}, most {_ms(most)}"
        return text


def plan(message: str, arguments: Sequence[str], *, up_to_3_0: bool, **numbers: Any) -> Plan:  # noqa: ANN401  the other fields
    """Return the plan with arguments as a person writes them, ``NAME=VALUE``, as HAProxy of that generation.

    Raises:
        ValueError: they do not fit into a message, or one of them is none; the text is for a person.
    """
    if not message:
        raise ValueError("--message: expected a name")
    if len(arguments) > MOST_ARGUMENTS:
        raise ValueError(f"--arg: a message has at most {MOST_ARGUMENTS} arguments")
    family = frames.Family.APPLET if up_to_3_0 else frames.Family.MUX
    return Plan(message.encode(), [values.read("--arg", each, values.argument) for each in arguments], family=family, **numbers)


class _NoAnswerError(Exception):
    """There is no answer; the text says why, for a person."""


async def carry_out(address: Address, plan: Plan, say: Say) -> Result:
    """Carry out ``plan`` at ``address``, up to SIGINT or SIGTERM, and return what came of it.

    Raises:
        ValueError: as for ``ask``.
    """
    result = Result()
    asking = asyncio.ensure_future(ask(address, plan, result, say))
    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, asking.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    return result


async def ask(address: Address, plan: Plan, result: Result, say: Say) -> None:
    """Carry out ``plan`` at ``address`` and note in ``result`` what comes of it; ``say`` gets a line for each answer.

    Raises:
        ValueError: the NOTIFY does not fit into what the agent takes; the text is for a person.
    """
    lines = [_Line(address, plan, result, say) for _ in range(plan.connections)]
    room = asyncio.Semaphore(MOST_OPEN)
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.TaskGroup() as asking:
            for number in range(plan.count):
                await asyncio.sleep(began + number / plan.rate - loop.time())
                await room.acquire()
                asking.create_task(lines[number % plan.connections].ask()).add_done_callback(lambda _: room.release())
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    finally:
        await asyncio.gather(*(line.close() for line in lines))


class _Line:
    """One connection of HAProxy's: made when it is needed, and made anew once it has ended."""

    def __init__(self, address: Address, plan: Plan, result: Result, say: Say) -> None:
        self._address = address
        self._plan = plan
        self._result = result
        self._say = say
        self._payload = messages.encode([messages.Message(plan.message, list(plan.arguments))])
        self._waiting: dict[bytes, asyncio.Future[frame.Frame]] = {}  # for the ACK, by the ids of the NOTIFY
        self._engine: Engine | None = None
        self._reading: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()
        self._alone = asyncio.Lock()
        self._pipelining = True
        self._size = frame.DEFAULT_MAX_FRAME_SIZE

    async def ask(self) -> None:
        """Ask once, and say what came of it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._plan.timeout_s):
                text, took = await (self._check() if self._plan.check else self._notify())
        except TimeoutError:
            self._result.failed += 1
            self._say(f"no answer within {self._plan.timeout_s:g} s")
        except _NoAnswerError as error:
            self._result.failed += 1
            self._say(f"no answer: {error}, after {_ms(loop.time() - began)}")
        else:
            self._result.seconds.append(took)
            self._say(f"{text}, after {_ms(took)}")

    async def close(self) -> None:
        """Take leave as HAProxy does, and close."""
        engine, reading = self._engine, self._reading
        if engine is None or reading is None:
            return
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(self._plan.timeout_s):
                await engine.send(frames.disconnect(frame.HAPROXY_DISCONNECT))
                await reading
        reading.cancel()
        await engine.close()

    async def _check(self) -> tuple[str, float]:
        began = asyncio.get_running_loop().time()
        async with await self._connected() as engine:
            hello = await self._hello(engine, frames.healthcheck_hello())
            took = asyncio.get_running_loop().time() - began
            pairs = ", ".join(f"{_text(pair.name)} {_value(pair.value)}" for pair in _pairs(hello))
            return f"AGENT-HELLO: {pairs}", took

    async def _notify(self) -> tuple[str, float]:
        await self._ready()
        async with contextlib.nullcontext() if self._pipelining else self._alone:
            engine = await self._ready()  # the connection may have ended meanwhile
            sent = engine.numbered(self._payload)
            if len(sent.raw) - frame.LENGTH_BYTES > self._size:
                length = len(sent.raw) - frame.LENGTH_BYTES
                raise ValueError(f"--arg: the NOTIFY has {length} bytes, and the agent takes {self._size}")
            loop = asyncio.get_running_loop()
            began = loop.time()
            answer = self._waiting[sent.ids] = loop.create_future()
            try:
                await engine.send(sent.raw)
                ack = await answer
            except OSError as error:
                raise _NoAnswerError(f"the connection is lost: {error.strerror or type(error).__name__}") from None
            finally:
                del self._waiting[sent.ids]
            return f"ACK {ack.stream_id}.{ack.frame_id}: {_actions(ack)}", loop.time() - began

    async def _ready(self) -> Engine:
        """Return the connection, past HELLO."""
        async with self._connecting:
            if self._engine is None:
                engine = await self._connected()
                try:
                    hello = await self._hello(engine, frames.haproxy_hello(self._plan.family))
                except BaseException:
                    await engine.close()
                    raise
                agreed = {pair.name: pair.value for pair in _pairs(hello)}
                size, capabilities = agreed.get(b"max-frame-size"), agreed.get(b"capabilities")
                self._size = size if isinstance(size, int) else frame.DEFAULT_MAX_FRAME_SIZE
                self._pipelining = isinstance(capabilities, bytes) and b"pipelining" in capabilities
                self._engine = engine
                self._reading = asyncio.get_running_loop().create_task(self._read(engine))
            return self._engine

    async def _connected(self) -> Engine:
        try:
            return await Engine.to(self._address, self._plan.family, deadline_s=None)
        except OSError as error:
            raise _NoAnswerError(f"cannot connect to {self._address}: {error.strerror or error}") from None

    async def _hello(self, engine: Engine, offer: bytes) -> frame.Frame:
        try:
            answer = await engine.hello(offer)
        except OSError as error:
            raise _NoAnswerError(f"the connection is lost: {error.strerror or type(error).__name__}") from None
        if answer is None or answer.type != frame.AGENT_HELLO:
            raise _NoAnswerError(_ended(answer))
        return answer

    async def _read(self, engine: Engine) -> None:
        """Read up to the end of the connection, which nobody uses any more then."""
        while (got := await engine.read()) is not None and got.type != frame.AGENT_DISCONNECT:
            answer = self._waiting.get(got.ids) if got.type == frame.ACK else None
            if answer is not None and not answer.done():
                answer.set_result(got)
                continue
            self._result.strays += 1
            if self._result.strays <= MOST_STRAYS:
                self._say(f"{_type(got)} {got.stream_id}.{got.frame_id} answers no NOTIFY that is open")
        self._engine = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(_NoAnswerError(_ended(got)))
        await engine.close()


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _ended(last: frame.Frame | None) -> str:
    """Return why there is no answer on a connection whose last frame this is; None: it ended without one."""
    if last is None:
        return "the connection was closed, or what came is no frame"
    told = {pair.name: pair.value for pair in _pairs(last)}
    if last.type != frame.AGENT_DISCONNECT:
        return f"{_type(last)} came in place of AGENT-HELLO"
    return f"AGENT-DISCONNECT, status {_value(told.get(b'status-code'))}, {_value(told.get(b'message'))}"


def _type(of: frame.Frame) -> str:
    return frame.TYPE_NAMES.get(of.type, f"a frame of type {of.type}").replace("_", "-")


def _pairs(of: frame.Frame) -> list[kv.Pair]:
    return kv.parse(of.raw, of.payload_at, len(of.raw))[0]


def _actions(ack: frame.Frame) -> str:
    found, at = actions.parse(ack.raw, ack.payload_at, len(ack.raw))
    texts = [_action(each) for each in found]
    if at < len(ack.raw):
        texts.append(f"{counted(len(ack.raw) - at, 'byte')} that cannot be read")
    return ", ".join(texts) or "no action"


def _action(action: actions.Action) -> str:
    variable = f"{_SCOPE_NAMES.get(action.scope, action.scope)}.{_text(action.name)}"
    return f"set {variable} = {_value(action.value)}" if action.type == walk.SET_VAR else f"unset {variable}"


def _value(value: typed_data.Value) -> str:
    if isinstance(value, bytes):
        return f'"{_text(value)}"'
    return "null" if value is None else str(value).lower()


def _text(raw: bytes) -> str:
    """Return bytes of a peer as text without any character that a terminal would act upon."""
    shown = raw[:_MOST_TEXT].decode(errors="replace").encode("unicode_escape").decode()
    return shown + ("..." if len(raw) > _MOST_TEXT else "")
