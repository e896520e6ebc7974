"""Generates whole conversations: the frames, moves and pauses of each side."""

from dataclasses import dataclass

from hypothesis import strategies as st

from tests.properties import spop
from tests.properties.frames import (
    ACTIONS,
    GOOD_ACTIONS,
    KNOWN,
    acks,
    agent_bytes,
    agent_hellos,
    disconnects,
    good_acks,
    good_notifies,
    haproxy_bytes,
    haproxy_hellos,
    mangled,
    split_acks,
    split_notifies,
    weighted,
)

HAPROXY, AGENT = "haproxy", "agent"


def agent(link: int) -> str:
    """The side that link of the session leads to; ``AGENT`` is the first."""
    return f"{AGENT}{link or ''}"


def link_of(side: str) -> int:
    return int(side.removeprefix(HAPROXY).removeprefix(AGENT) or 0)


@dataclass(frozen=True)
class Say:
    """``side`` writes ``data``."""

    side: str
    data: bytes


@dataclass(frozen=True)
class Leave:
    """``side`` closes its connection, or breaks it."""

    side: str
    reset: bool = False


@dataclass(frozen=True)
class Wait:
    seconds: float


@dataclass(frozen=True)
class Due:
    """Time passes until the session's deadline."""


@dataclass(frozen=True)
class Drain:
    """The guard is told to stop."""


@dataclass(frozen=True)
class Reach:
    """What becomes of the dial of that link, if it is dialled."""

    link: int
    up: bool = True


Move = Say | Leave | Wait | Due | Drain | Reach

waits = st.builds(Wait, st.sampled_from([0.0, 0.001, 0.1, 0.3, 0.5, 0.6, 1.0, 1.9, 2.0, 5.0, 700.0])).map(lambda move: [move])
leaves = st.builds(Leave, st.sampled_from([HAPROXY, AGENT]), st.booleans()).map(lambda move: [move])
drains = st.just([Drain()])
questions = st.lists(haproxy_bytes, min_size=1, max_size=3).map(lambda sent: [Say(HAPROXY, b"".join(sent))])
answers = st.lists(agent_bytes, min_size=1, max_size=3).map(lambda sent: [Say(AGENT, b"".join(sent))])


@st.composite
def exchanges(draw: st.DrawFn, *, sound: bool = False) -> list[Move]:
    """Some NOTIFYs and their ACKs in any order, in one write or two; unless ``sound``, with faults or a DISCONNECT among them."""
    ids = draw(st.lists(KNOWN, min_size=1, max_size=4, unique=True))
    payloads = GOOD_ACTIONS if sound else weighted((3, GOOD_ACTIONS), (1, ACTIONS))
    sent = [spop.frame(spop.ACK, one, draw(payloads)) for one in draw(st.permutations(ids))]
    if not sound:
        sent = sent[: draw(st.integers(0, len(sent)))] if draw(st.booleans()) else sent
        among = draw(
            st.lists(
                weighted((2, disconnects(spop.AGENT_DISCONNECT)), (1, acks), (1, split_acks()), (1, agent_bytes)), max_size=2
            )
        )
        for fault in among:
            sent.insert(draw(st.integers(0, len(sent))), fault)
    mark = draw(st.integers(0, len(sent)))
    parts = [b"".join(part) for part in (sent[:mark], sent[mark:]) if part]
    between = draw(waits) if draw(st.booleans()) and not sound else []
    asked = Say(HAPROXY, b"".join(spop.frame(spop.NOTIFY, one, spop.ONE_MESSAGE) for one in ids))
    return [asked, *[Say(AGENT, part) for part in parts[:1]], *between, *[Say(AGENT, part) for part in parts[1:]]]


@st.composite
def dribbles(draw: st.DrawFn) -> list[Move]:
    """One frame, a piece at a time, with a wait between the pieces."""
    side, frames = draw(st.sampled_from([(HAPROXY, good_notifies), (AGENT, good_acks)]))
    pause = Wait(draw(st.sampled_from([0.1, 0.9, 1.9])))
    sent = draw(frames)
    moves = [[Say(side, sent[at : at + 3]), pause] for at in range(0, min(len(sent), 30), 3)]
    return [move for pair in moves for move in pair]


@st.composite
def bursts(draw: st.DrawFn) -> list[Move]:
    """Up to twenty NOTIFYs as the SPOP mux sends them, and long ACKs for them all, faster than HAProxy could take them."""
    first = draw(st.sampled_from([1, 1, 1, 7, 41]))
    ids = [(stream_id, 1) for stream_id in range(first, first + 2 * draw(st.integers(2, 20)), 2)]
    fill = st.sampled_from([0, 200, 900, 900, 900, 3000, 8160, 8170, 8180, 9000, 15900])
    sent = [spop.frame(spop.ACK, one, spop.ALLOWED + spop.padding(draw(fill))) for one in draw(st.permutations(ids))]
    if draw(st.booleans()):
        sent.insert(draw(st.integers(0, len(sent))), draw(weighted((1, disconnects(spop.AGENT_DISCONNECT)), (1, good_acks))))
    moves: list[Move] = [Say(HAPROXY, b"".join(spop.frame(spop.NOTIFY, one, spop.ONE_MESSAGE) for one in ids))]
    while sent:
        some = draw(st.integers(1, len(sent)))
        moves.append(Say(AGENT, b"".join(sent[:some])))
        sent = sent[some:]
        if draw(st.booleans()):
            moves.append(Wait(draw(st.sampled_from([0.0001, 0.0005, 0.001, 0.0015, 0.003]))))
    return moves


@st.composite
def changes_of_links(draw: st.DrawFn) -> list[Move]:
    """What an agent says on links behind the first, where there are any: HELLO, ACKs in any order, the end; or rubbish."""
    ids = draw(st.lists(KNOWN, min_size=1, max_size=4, unique=True))
    asked = Say(HAPROXY, b"".join(spop.frame(spop.NOTIFY, one, spop.ONE_MESSAGE) for one in ids))
    moves: list[Move] = [asked] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        link = draw(st.sampled_from([0, 1, 1, 2, 3, 4]))
        hello = spop.agent_hello(draw(st.sampled_from([16000, 256])), draw(st.sampled_from([b"pipelining", b"pipelining", b""])))
        acks = b"".join(spop.frame(spop.ACK, one, spop.ALLOWED) for one in draw(st.permutations(ids))[: draw(st.integers(0, 4))])
        sent = draw(weighted((3, st.just(hello)), (1, st.just(b"")), (1, agent_bytes))) if link else b""
        moves += [Say(agent(link), part) for part in (sent, acks) if part]
        if draw(st.booleans()):
            moves += draw(weighted((1, waits), (1, st.just([Due()]))))
        if draw(st.booleans()):
            its_disconnect = Say(agent(link), spop.disconnect(spop.AGENT_DISCONNECT))
            moves.append(draw(st.sampled_from([Leave(agent(link)), Leave(agent(link), reset=True), its_disconnect])))
    return moves if draw(st.booleans()) else [*moves, asked]


def _agents_own(offered: bytes, *, fragments: bool) -> bytes:
    """What an agent announces that was offered so much: it takes fragments or not, whatever HAProxy does."""
    named = [b"pipelining"] if b"pipelining" in offered else []
    return b",".join(named + ([b"fragmentation"] if fragments else []))


good_opening = st.builds(
    lambda size, wanted, capabilities, engine, fragments: [
        Say(HAPROXY, spop.haproxy_hello(size, capabilities, engine=engine)),
        Say(AGENT, spop.agent_hello(min(size, wanted), _agents_own(capabilities, fragments=fragments))),
    ],
    st.sampled_from([16380, 1024]),
    st.sampled_from([16000, 16000, 256]),
    st.sampled_from([b"pipelining", b"pipelining,async", b""]),  # HAProxy never offers fragmentation
    st.sampled_from([b"", b"e-1"]),
    st.booleans(),
)


@st.composite
def long_exchanges(draw: st.DrawFn, *, due: bool = True) -> list[Move]:
    """NOTIFYs in fragments among whole ones, and what the agent says meanwhile and behind them.

    ``due``: whether time may pass until the session's deadline.
    """
    ids = draw(st.lists(KNOWN, min_size=1, max_size=3, unique=True))
    asked = [
        draw(weighted((2, split_notifies(st.just(one))), (1, st.just(spop.frame(spop.NOTIFY, one, spop.ONE_MESSAGE)))))
        for one in ids
    ]
    sent = b"".join(asked)
    mark = draw(st.integers(0, len(sent)))
    between = draw(weighted((2, st.just([])), (1, waits), (1, leaves), (1, answers), (1, st.just([Due()]) if due else waits)))
    acks = b"".join(spop.frame(spop.ACK, one, spop.ALLOWED) for one in draw(st.permutations(ids))[: draw(st.integers(0, 3))])
    says = [Say(side, data) for side, data in ((HAPROXY, sent[:mark]), (HAPROXY, sent[mark:]), (AGENT, acks))]
    moves = [*says[:1], *between, *says[1:]]
    return [move for move in moves if not isinstance(move, Say) or move.data]


good_hello = st.just(spop.haproxy_hello())
any_opening = st.builds(
    lambda sent, answered: [Say(HAPROXY, sent), Say(AGENT, answered)],
    weighted((3, good_hello), (2, haproxy_hellos), (1, haproxy_bytes), (1, mangled(haproxy_hellos, good_notifies))),
    weighted((3, st.just(spop.agent_hello())), (2, agent_hellos), (1, agent_bytes), (1, mangled(agent_hellos, good_acks))),
)
openings = weighted((4, good_opening), (1, any_opening))


def _conversation(*moves: tuple[int, st.SearchStrategy[list[Move]]], most: int = 6) -> st.SearchStrategy[list[Move]]:
    rest = st.lists(weighted(*moves), max_size=most)
    return st.builds(lambda start, parts: [*start, *(move for part in parts for move in part)], openings, rest)


_FAIR = (3, exchanges(sound=True))
_TORN = (4, exchanges())
_BURST = (2, bursts())
_LINKS = (3, changes_of_links())
_LONG = (3, long_exchanges())
against_agents = _conversation(_FAIR, _TORN, _BURST, _LINKS, (3, answers), (1, waits), (1, dribbles()), (1, leaves), (1, drains))
against_haproxy = _conversation(_FAIR, _LINKS, _LONG, (6, questions), (1, waits), (1, dribbles()), (1, leaves), (1, drains))
against_both = _conversation(
    _FAIR, _TORN, _BURST, _LINKS, _LONG, (3, questions), (2, answers), (1, waits), (1, dribbles()), (1, leaves), (1, drains)
)
# A deadline is a lower bound, and how near it is depends on the reads: until then is not as long for two of them.
standing_still = _conversation(_FAIR, _TORN, _BURST, (3, long_exchanges(due=False)), (3, questions), (2, answers), (1, leaves))


@st.composite
def healthy(draw: st.DrawFn) -> list[Move]:
    """Each NOTIFY gets its one ACK, in any order, and the agent sends DISCONNECT behind the last: nothing to change."""
    count = draw(st.integers(0, 8))
    ids = draw(st.permutations([(2 * n + 1, 1) for n in range(count)]))
    moves: list[Move] = [
        Say(HAPROXY, spop.haproxy_hello()),
        Say(
            AGENT,
            spop.agent_hello(
                draw(st.sampled_from([16368, 1024, 256])), _agents_own(b"pipelining", fragments=draw(st.booleans()))
            ),
        ),
    ]
    unasked, open_ = list(ids), []
    while unasked or open_:
        if unasked and (not open_ or draw(st.booleans())):
            asked = [unasked.pop() for _ in range(draw(st.integers(1, len(unasked))))]
            moves.append(Say(HAPROXY, b"".join(spop.frame(spop.NOTIFY, one, spop.ONE_MESSAGE) for one in asked)))
            open_ += asked
        else:
            open_ = draw(st.permutations(open_))
            answered = [open_.pop() for _ in range(draw(st.integers(1, len(open_))))]
            moves.append(Say(AGENT, b"".join(spop.frame(spop.ACK, one, spop.ALLOWED) for one in answered)))
        if draw(st.booleans()):
            moves.append(Wait(draw(st.sampled_from([0.001, 0.2]))))
    if draw(st.booleans()):
        moves.append(Say(AGENT, spop.disconnect(spop.AGENT_DISCONNECT)))
    return moves


def as_told(said: bytes) -> bytes:
    """What HAProxy gets of ``said`` by a healthy agent: AGENT-HELLO announces that the guard takes fragments."""
    [hello, *_], _ = spop.cut(said)
    size = spop.pairs(spop.read_frame(hello).payload)[b"max-frame-size"][1]
    assert isinstance(size, int)
    return spop.agent_hello(size, b"pipelining,fragmentation") + said[len(hello) :]


segmentations = st.one_of(st.just([]), st.just([1]), st.lists(st.integers(1, 40), min_size=1, max_size=6))


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """``data`` cut up as TCP might: in pieces of ``sizes``, over and over; one piece where there are none."""
    if not sizes:
        return [data] if data else []
    out, at, turn = [], 0, 0
    while at < len(data):
        # a hundred pieces are enough of one write: what is left comes at once
        size = sizes[turn % len(sizes)] if turn < 100 else len(data)
        out.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return out
