"""What peers may send most dearly: each kind of frame, and each thing that grows until it is repaired, searched or settled.

A shape is made for a number of bytes. What leads up to it is played at once; what costs is played by ``run``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.observed import ObservedSession
from spoe_guard.core.session import Session
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import Redispatch, SessionConfig, Unanswered
from spoe_guard.core.terms.output import Output
from spoe_guard.core.terms.states import SessionState
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import frame, typed_data, varint
from spoe_guard.wire.frame import FrameType
from tests.core.frames import (
    ABRT,
    ENDLESS,
    LONG_NAME,
    MESSAGE,
    PROC,
    SET_VAR,
    UNSET_VAR,
    ack,
    agent_disconnect,
    agent_hello,
    haproxy_hello,
    notify,
    raw,
    unset,
)

LARGEST = 1 << 20
READ = 16384  # bytes of one read
MANY = b"\1\3\2\1a\x11"  # a SET-VAR, as short as it gets
SHORTEST = b"\2\2\2\0"  # an action, as short as it gets
APPLET = b"pipelining,async"  # HAProxy up to 3.0

Step = tuple[Side, bytes]


@dataclass
class Stage:
    """A session behind its handshake, and what is still to be played. ``largest``: see ``run``."""

    session: Any
    now: float = 1.0
    link: int = 0
    steps: list[Callable[[], Output | None]] = field(default_factory=list)

    def feed(self, side: Side, data: bytes, link_id: int = 0, read: int = READ) -> Iterator[Callable[[], Output]]:
        """The steps in which ``data`` is received."""
        more = (link_id,) if link_id else ()
        for at in range(0, len(data), read):
            part = data[at : at + read]
            while part:
                told: list[Output] = []

                def step(part: bytes = part, told: list[Output] = told) -> Output:
                    told.append(self.session.receive(side, part, self.now, *more))
                    return told[0]

                yield step
                part = part[len(part) - told[0].left :]

    def due(self) -> Iterator[Callable[[], Output]]:
        """The steps until nothing is due any more."""
        while self.session.deadline <= self.now:
            yield lambda: self.session.tick(self.now)

    def play(self, steps: Iterator[Callable[[], Output]]) -> None:
        for step in steps:
            step()


def stage(
    *,
    observe: bool = False,
    fast: bool = True,
    size: int = 16380,
    capabilities: bytes = b"pipelining",
    agent: bytes = b"pipelining",
    read: Callable[[], int | None] | None = None,
    **config: Any,
) -> Stage:
    """A session behind its handshake that agreed on frames of ``size`` bytes."""
    kind = ObservedSession if observe else Session
    limits = {"held_bytes": 4 * LARGEST} if size > READ else {}
    known = SessionConfig(observe=observe, **{**limits, **config})
    session = kind(known, Tally(), 0.0, RouteState(read=read), fast=fast)
    there = Stage(session)
    session.start(0.0)
    there.play(there.feed(Side.HAPROXY, haproxy_hello(max_frame_size=size, capabilities=capabilities)))
    session.agent_connected(1.0)
    there.play(there.feed(Side.AGENT, agent_hello(max_frame_size=size, capabilities=agent)))
    assert session.state is SessionState.RUNNING
    return there


Shape = Callable[[int], tuple[Stage, Iterator[Callable[[], Output]]]]


def _filled(piece: bytes, size: int) -> bytes:
    return piece * max(1, size // len(piece))


def _numbered(make: Callable[[int], bytes], size: int) -> bytes:
    """Return ``make`` of 1, 3, 5 and so on, ``size`` bytes in all."""
    out = bytearray()
    number = 1
    while not out or len(out) < size:
        out += make(number)
        number += 2
    return bytes(out)


def _ids(number: int) -> str:
    return f"{number}.1"


def _over_and_over(side: Side, piece: bytes, before: bytes = b"", **how: Any) -> Shape:
    """The same frame again and again."""

    def shape(size: int) -> tuple[Stage, Iterator[Callable[[], Output]]]:
        there = stage(**how)
        there.play(there.feed(side.HAPROXY, before))
        return there, there.feed(side, _filled(piece, size))

    return shape


def _each(side: Side, make: Callable[[int], bytes], opened: bool = False, **how: Any) -> Shape:
    """A frame for each of many ids, for which there are NOTIFYs if they are ``opened``."""

    def shape(size: int) -> tuple[Stage, Iterator[Callable[[], Output]]]:
        there = stage(**{"open_notifies": LARGEST if opened else 65536, **how})
        data = _numbered(make, size)
        if opened:
            count = len(data) // len(make(1)) + 1
            there.play(there.feed(Side.HAPROXY, b"".join(notify(_ids(2 * at + 1)) for at in range(count))))
        return there, there.feed(side, data)

    return shape


def _one(side: Side, make: Callable[[int], bytes], before: bytes = b"", reading: int = READ, **how: Any) -> Shape:
    """One frame, or one thing of many frames, of that size."""

    def shape(size: int) -> tuple[Stage, Iterator[Callable[[], Output]]]:
        there = stage(size=2 * LARGEST, **how)
        there.play(there.feed(Side.HAPROXY, before))
        return there, there.feed(side, make(size), read=reading)

    return shape


def _listed(*names: bytes) -> Callable[[int], bytes]:
    """Keys with these names in turn."""
    pair = b"".join(typed_data.encode_string(name) + b"\x11" for name in names)
    return lambda size: _filled(pair, size)


def _hello(size: int) -> tuple[Stage, Iterator[Callable[[], Output]]]:
    """AGENT-HELLO with many keys, of which none is twice, and many capabilities; HAProxy offered pipelining many times."""
    session = Session(SessionConfig(held_bytes=4 * LARGEST), Tally(), 0.0, RouteState(read=lambda: None))
    there = Stage(session)
    session.start(0.0)
    there.play(there.feed(Side.HAPROXY, haproxy_hello(max_frame_size=2 * LARGEST, capabilities=b"pipelining," * 300)))
    session.agent_connected(1.0)
    keys = b"".join(typed_data.encode_string(b"%x" % at) + b"\x11" for at in range(size // 16))
    return there, there.feed(Side.AGENT, agent_hello(max_frame_size=LARGEST, capabilities=b"x," * (size // 4), more=keys))


# --- what is put together, and what is looked for -----------------------------------------------------------------------

OPEN = b"".join(notify(_ids(2 * at + 1)) for at in range(64))


def _fragments(first: Callable[..., bytes], payload: bytes) -> Callable[[int], bytes]:
    head = first("1.1", payload=SET_VAR[:5] if first is ack else MESSAGE[:5], flags=0)
    return lambda size: head + _filled(unset("1.1", payload, flags=0), size)


def lengths_and_heads(size: int) -> bytes:
    """As many frames at once as may wait, all of other lengths, and a payload that may be of many of them."""
    out = bytearray()
    while len(out) < size:
        lengths = [300 + 4 * at for at in range(64)]
        out += b"".join(length.to_bytes(4, "big") for length in lengths)
        out += b"".join(ack(_ids(2 * at + 1), payload=b"")[4:] for at in range(60))
        out += SHORTEST * 120
    return bytes(out)


def _torn(size: int) -> bytes:
    """Frames of two threads, each in two pieces, between one another."""
    out = bytearray()
    number = 1
    while len(out) < size:
        one, other = ack(_ids(number)), ack(_ids(number + 2), payload=UNSET_VAR + SET_VAR)
        out += one[:4] + other[:4] + other[4:] + one[4:]
        number += 4
    return bytes(out)


def never_in_order(size: int) -> bytes:
    """Frames of two threads, each in two pieces; one begins before the one before it ends."""
    last = ack(_ids(1))
    out = bytearray(last[:4])
    number = 3
    while len(out) < size:
        more = ack(_ids(number), payload=UNSET_VAR + SET_VAR if number & 2 else SET_VAR)
        out += more[:4] + last[4:]
        last = more
        number += 2
    return bytes(out) + last[4:]


def beside_many(size: int) -> bytes:
    """Whole frames while as many as may wait are incomplete."""
    waiting = [ack(_ids(2 * at + 1), payload=(75 + at) * SHORTEST) for at in range(60)]
    out = b"".join(each[:4] for each in waiting) + b"".join(each[4:11] for each in waiting)
    return out + _numbered(lambda number: ack(_ids(number + 200), payload=SHORTEST), size)


def within_a_length(size: int) -> bytes:
    """The length of one thread's frame, whole frames of another one that fill it, and then the rest of the first."""
    inner = _numbered(lambda number: ack(_ids(number + 2), payload=SHORTEST), size)
    rest = ack(_ids(1), payload=_filled(SHORTEST, len(inner) + 64))[4:]
    return len(rest).to_bytes(4, "big") + inner + rest


def in_an_ack(size: int) -> bytes:
    """Behind a break an ACK that turns bad behind its first action, and what is in it are whole ACKs."""
    return b"\xff" * 8 + ack(_ids(1), payload=SET_VAR + _numbered(lambda number: ack(_ids(number + 2), payload=SHORTEST), size))


def _frames_in_a_frame(size: int) -> bytes:
    return raw(b"\0\0\0" + _filled(ack("1.1", payload=SHORTEST), size))


def _torn_payload(size: int) -> bytes:
    """A long ACK, of which the payload comes inside of AGENT-DISCONNECT."""
    ack_, bye = ack("1.1", payload=_filled(MANY, size)), agent_disconnect()
    head = len(ack("1.1", payload=b""))
    return bye[:11] + ack_[:head] + ack_[head:] + bye[11:]


def nearly(size: int) -> bytes:
    """Behind a break heads of ACKs within ACKs: each may end where all of it does, but for a byte."""
    head = ack("1.1", payload=b"")[4:]
    hidden = b"\1\3\2\1a\x08" + bytes((len(head) + 4,))  # in the value of an action
    unit = len(hidden) + 4 + len(head) + len(SHORTEST)
    count = size // unit
    out = b"\xff" * 8
    for at in range(count):
        rest = (count - at) * unit - len(hidden) - 4
        out += hidden + (rest + 1).to_bytes(4, "big") + head + SHORTEST
    return out + b"\7" * 8


def behind_a_break(size: int) -> bytes:
    return b"\xff" * 8 + _numbered(lambda number: ack(_ids(number), payload=SHORTEST), size)


def within_disconnect(size: int) -> bytes:
    return frame.encode(FrameType.AGENT_DISCONNECT, payload=b"\xff" + _numbered(lambda at: ack(_ids(at), payload=SHORTEST), size))


def _broken(make: Callable[[int], bytes], reading: int = READ) -> Shape:
    def shape(size: int) -> tuple[Stage, Iterator[Callable[[], Output]]]:
        there = stage(size=2 * LARGEST, open_notifies=LARGEST)
        data = make(size)
        there.play(there.feed(Side.HAPROXY, _numbered(lambda number: notify(_ids(number)), 2 * len(data))))
        return there, there.feed(Side.AGENT, data, read=reading)

    return shape


# --- what many open NOTIFYs cost when they are settled ----------------------------------------------------------------------

EACH = 32  # bytes of traffic for which there is one open NOTIFY


def _opened(there: Stage, count: int) -> None:
    there.play(there.feed(Side.HAPROXY, b"".join(notify(_ids(2 * at + 1)) for at in range(count))))


def _settled(then: Callable[[Stage], Iterator[Callable[[], Output]]], **how: Any) -> Shape:
    def shape(size: int) -> tuple[Stage, Iterator[Callable[[], Output]]]:
        there = stage(**{"capabilities": APPLET, **how})
        _opened(there, size // EACH)
        return there, then(there)

    return shape


def _deadline(there: Stage) -> Iterator[Callable[[], Output]]:
    there.now += 5.0
    yield from there.due()


def _lost(there: Stage) -> Iterator[Callable[[], Output]]:
    yield lambda: there.session.closed(Side.AGENT, there.now, reset=True)
    yield from there.due()


def _lost_and_back(there: Stage) -> Iterator[Callable[[], Output]]:
    yield from _lost(there)
    there.now += 0.3
    yield from there.due()
    yield lambda: there.session.agent_connected(there.now, 1)
    yield from there.feed(Side.AGENT, agent_hello(), 1)
    yield from there.due()


def _ended(there: Stage) -> Iterator[Callable[[], Output]]:
    yield lambda: there.session.closed(Side.HAPROXY, there.now, reset=True)


def _parked(then: Callable[[Stage], Iterator[Callable[[], Output]]], **how: Any) -> Shape:
    """The agent is away while NOTIFYs come."""

    def shape(size: int) -> tuple[Stage, Iterator[Callable[[], Output]]]:
        there = stage(**{"capabilities": APPLET, "give_up_s": 5.0, **how})
        there.session.closed(Side.AGENT, there.now, reset=False)
        there.now += 0.3
        there.play(there.due())
        return there, _coming(there, size, then)

    return shape


def _coming(there: Stage, size: int, then: Callable[[Stage], Iterator[Callable[[], Output]]]) -> Iterator[Callable[[], Output]]:
    for at in range(0, size // EACH, 64):
        there.now += 0.00001
        yield from there.feed(Side.HAPROXY, b"".join(notify(_ids(2 * (at + each) + 1)) for each in range(64)))
    yield from then(there)


def _agent_back(there: Stage) -> Iterator[Callable[[], Output]]:
    yield lambda: there.session.agent_connected(there.now, 1)
    yield from there.feed(Side.AGENT, agent_hello(), 1)
    yield from there.due()


def _away(there: Stage) -> Iterator[Callable[[], Output]]:
    there.now += 20.0
    yield from there.due()


ODD = ack("99.7")  # makes a session look at all that it waits for


def _looked_at(there: Stage, count: int, link: int = 0) -> Iterator[Callable[[], Output]]:
    """So many odd frames, each in a read of its own."""
    return (step for _ in range(count) for step in there.feed(Side.AGENT, ODD, link))


def _large_ids(size: int) -> tuple[Stage, Iterator[Callable[[], Output]]]:
    """NOTIFYs with ids that no HAProxy has."""
    there = stage(capabilities=APPLET, answer_deadline_s=100.0)
    count = size // EACH
    there.play(
        there.feed(
            Side.HAPROXY,
            b"".join(raw(b"\3\0\0\0\1" + varint.encode(2**50 + at) + b"\1" + MESSAGE) for at in range(count)),
        )
    )
    return there, _looked_at(there, count)


def _out_of_order(size: int) -> tuple[Stage, Iterator[Callable[[], Output]]]:
    """A link has NOTIFYs that are older than one it had before: their own link was lost."""
    count = size // EACH
    there = stage(
        capabilities=APPLET,
        give_up_s=5.0,
        max_links=2,
        in_flight=count,
        answer_deadline_s=100.0,
        redispatch=Redispatch.UNANSWERED,
    )
    _opened(there, count)
    there.now += 0.1
    there.play(there.feed(Side.HAPROXY, notify(_ids(2 * count + 1))))
    there.play(_agent_back(there))
    there.now += 0.3
    there.session.closed(Side.AGENT, there.now, reset=True)
    there.now += 0.3
    there.play(there.due())
    return there, _looked_at(there, count, 1)


def _unread(size: int) -> tuple[Stage, Iterator[Callable[[], Output]]]:
    """HAProxy does not read, and the agent answers, each time in a read of its own."""
    there = stage(read=lambda: 0, held_bytes=4 * LARGEST)
    data = [ack(_ids(2 * at + 1)) for at in range(size // len(ack(_ids(1))))]
    _opened(there, len(data))
    there.play(there.feed(Side.AGENT, data.pop(0)))
    return there, (step for each in data for step in there.feed(Side.AGENT, each))


# --- the table --------------------------------------------------------------------------------------------------------------

HAPROXY, AGENT = Side.HAPROXY, Side.AGENT
RUNT = raw(b"")
STRANGE = raw(b"\x2a\0\0\0\1\1\1")
BAD_IDS = raw(b"g\0\0\0\1" + ENDLESS)
SKIPPED = raw(b"g\0\0\0\1\x09\1" + bytes(20_000))
CUT = ack("1.1", payload=SET_VAR[:5], flags=0)
PARTS = {"capabilities": b"fragmentation,pipelining", "agent": b"fragmentation,pipelining"}

FRAMES: dict[str, Shape] = {
    "agent: ACKs": _each(AGENT, lambda at: ack(_ids(at)), opened=True),
    "agent: ACKs, the readable way": _each(AGENT, lambda at: ack(_ids(at)), opened=True, fast=False),
    "agent: ACKs, observed": _each(AGENT, lambda at: ack(_ids(at)), opened=True, observe=True),
    "agent: ACKs of no NOTIFY": _over_and_over(AGENT, ack("9.1")),
    "agent: ACKs of no NOTIFY, async": _over_and_over(AGENT, ack("9.1"), capabilities=APPLET, agent=APPLET),
    "agent: the same ACK again": _over_and_over(AGENT, ack("1.1"), notify("1.1")),
    "agent: ACKs without FIN": _each(AGENT, lambda at: ack(_ids(at), flags=0), opened=True),
    "agent: ACKs that are malformed": _each(AGENT, lambda at: ack(_ids(at), payload=b"\7"), opened=True),
    "agent: ACKs to be repaired": _each(AGENT, lambda at: ack(_ids(at), payload=PROC), opened=True),
    "agent: ACKs too long": _over_and_over(AGENT, SKIPPED),
    "agent: runts": _over_and_over(AGENT, RUNT),
    "agent: runts, observed": _over_and_over(AGENT, RUNT, observe=True),
    "agent: frames of no type": _over_and_over(AGENT, STRANGE),
    "agent: ids that do not end": _over_and_over(AGENT, BAD_IDS),
    "agent: AGENT-HELLO again": _over_and_over(AGENT, agent_hello()),
    "agent: UNSET frames that continue nothing": _over_and_over(AGENT, unset("1.1", flags=0)),
    "agent: first fragments alone": _over_and_over(AGENT, CUT, notify("1.1")),
    "haproxy: NOTIFYs": _each(HAPROXY, lambda at: notify(_ids(at))),
    "haproxy: NOTIFYs, the readable way": _each(HAPROXY, lambda at: notify(_ids(at)), fast=False),
    "haproxy: NOTIFYs, one at a time": _each(HAPROXY, lambda at: notify(_ids(at)), capabilities=b"", agent=b""),
    "haproxy: NOTIFYs, at most 64 open": _each(HAPROXY, lambda at: notify(_ids(at)), open_notifies=64),
    "haproxy: the same NOTIFY again": _over_and_over(HAPROXY, notify("1.1")),
    "haproxy: empty NOTIFYs": _each(HAPROXY, lambda at: notify(_ids(at), payload=b"")),
    "haproxy: NOTIFYs that are malformed": _each(HAPROXY, lambda at: notify(_ids(at), payload=b"\xff")),
    "haproxy: runts": _over_and_over(HAPROXY, RUNT),
    "haproxy: frames of no type": _over_and_over(HAPROXY, STRANGE),
    "haproxy: HAPROXY-HELLO again": _over_and_over(HAPROXY, haproxy_hello()),
    "haproxy: UNSET frames that continue nothing": _over_and_over(HAPROXY, unset("1.1", flags=0)),
    "haproxy: first fragments alone": _over_and_over(HAPROXY, notify("1.1", flags=0)),
    "haproxy: first fragments aborted": _over_and_over(HAPROXY, notify("1.1", flags=ABRT)),
    "haproxy: fragments that are passed on": _one(HAPROXY, _fragments(notify, b""), **PARTS),
}

GROWING: dict[str, Shape] = {
    "an ACK of many actions": _one(AGENT, lambda size: ack("1.1", payload=_filled(MANY, size)), OPEN),
    "an ACK of bad booleans": _one(AGENT, lambda size: ack("1.1", payload=_filled(b"\1\3\2\1a\x21", size)), OPEN),
    "an ACK of NULL values": _one(AGENT, lambda size: ack("1.1", payload=_filled(b"\1\3\2\1a\0", size)), OPEN),
    "an ACK of stray NULLs": _one(AGENT, lambda size: ack("1.1", payload=_filled(SHORTEST + b"\0", size)), OPEN),
    "an ACK of long names": _one(AGENT, lambda size: ack("1.1", payload=_filled(LONG_NAME, size)), OPEN),
    "an ACK of process-wide variables": _one(AGENT, lambda size: ack("1.1", payload=_filled(b"\2\2\0\0", size)), OPEN),
    "an ACK malformed at its end": _one(AGENT, lambda size: ack("1.1", payload=_filled(MANY, size) + b"\7"), OPEN),
    "an ACK in small reads": _one(AGENT, lambda size: ack("1.1", payload=_filled(MANY, size)), OPEN, reading=64),
    "AGENT-HELLO of many keys": _hello,
    "AGENT-DISCONNECT of many keys": _one(
        AGENT,
        lambda size: frame.encode(FrameType.AGENT_DISCONNECT, payload=_listed(b"a", b"status-code", b"message")(size)),
        OPEN,
    ),
    "HAPROXY-DISCONNECT of many keys": _one(
        HAPROXY, lambda size: frame.encode(FrameType.HAPROXY_DISCONNECT, payload=_listed(b"status-code", b"x")(size))
    ),
    "a NOTIFY of many arguments": _one(
        HAPROXY, lambda size: notify("1.1", payload=_filled(b"\1m\xff" + b"\1a\x11" * 255, size)), fast=False
    ),
    "an ACK in fragments, all of them empty": _one(AGENT, _fragments(ack, b""), OPEN),
    "an ACK in fragments of a byte": _one(AGENT, _fragments(ack, b"\1"), OPEN),
    "a NOTIFY in fragments, all of them empty": _one(HAPROXY, _fragments(notify, b"")),
    "a NOTIFY in fragments of a byte": _one(HAPROXY, _fragments(notify, b"\1")),
    "pieces of two threads": _broken(_torn),
    "pieces of two threads that are never in order": _broken(never_in_order),
    "whole frames within the length of another": _broken(within_a_length),
    "pieces that may be of many frames": _one(AGENT, lambda size: raw(bytes(7))[:4] + lengths_and_heads(size), OPEN),
    "pieces that may be of many frames, in small reads": _one(AGENT, lengths_and_heads, OPEN, reading=16),
    "a payload within a frame": _one(AGENT, _torn_payload, OPEN),
    "a payload within a frame, in small reads": _one(AGENT, _torn_payload, OPEN, reading=64),
    "frames in a frame": _broken(_frames_in_a_frame),
    "ACKs behind a break": _broken(behind_a_break),
    "ACKs behind a break, in small reads": _broken(behind_a_break, 64),
    "ACKs in an ACK behind a break": _broken(in_an_ack),
    "ACKs within ACKs behind a break": _broken(nearly),
    "ACKs within ACKs behind a break, in small reads": _broken(nearly, 64),
    "HAProxy does not read": _unread,
}

# What is put together and looked for, each in one read.
TORN: dict[str, Shape] = {
    f"in one read: {name}": _broken(make, LARGEST)
    for name, make in {
        "pieces of two threads": _torn,
        "pieces of two threads that are never in order": never_in_order,
        "whole frames within the length of another": within_a_length,
        "whole frames beside many that wait": beside_many,
        "ACKs behind a break": behind_a_break,
        "ACKs in an ACK behind a break": in_an_ack,
        "ACKs within ACKs behind a break": nearly,
        "ACKs within AGENT-DISCONNECT": within_disconnect,
    }.items()
}

OPENED: dict[str, Shape] = {
    "open NOTIFYs: their deadline": _settled(_deadline, answer_deadline_s=3.0),
    "open NOTIFYs: their deadline, answered": _settled(_deadline, answer_deadline_s=3.0, unanswered=Unanswered.EMPTY_ACK),
    "open NOTIFYs: their link is lost": _settled(_lost, give_up_s=5.0),
    "open NOTIFYs: their link is lost, answered": _settled(_lost, give_up_s=5.0, unanswered=Unanswered.EMPTY_ACK),
    "open NOTIFYs: another agent gets them": _settled(_lost_and_back, give_up_s=5.0, redispatch=Redispatch.UNANSWERED),
    "open NOTIFYs: the session ends with its link": _settled(_lost),
    "open NOTIFYs: the same, answered": _settled(_lost, unanswered=Unanswered.EMPTY_ACK),
    "open NOTIFYs: HAProxy leaves": _settled(_ended),
    "waiting NOTIFYs: the agent comes": _parked(_agent_back),
    "waiting NOTIFYs: the agent stays away": _parked(_away),
    "waiting NOTIFYs: the agent stays away, answered": _parked(_away, unanswered=Unanswered.EMPTY_ACK),
    "waiting NOTIFYs: for too long": _parked(_away, park_s=1.0),
    "waiting NOTIFYs, one at a time": _parked(_away, capabilities=b""),
    "open NOTIFYs with large ids": _large_ids,
    "open NOTIFYs out of order": _out_of_order,
}
