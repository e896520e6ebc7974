"""Two-way scripts: what each side says and does, and what the session makes of it, one line each.

    haproxy NOTIFY 7.1                        -> ok
    agent   ACK 7.1 + AGENT_DISCONNECT 0      -> to_haproxy ACK 7.1, ...
    agent   <odd>                             -> drop runt_frame
    agent   ACK 7.1[:5]                       -> held
    guard   waits 0.5                         -> nothing

Said is a run of frames of one read, joined by `` + ``: a type with ids or a status, or ``<name>`` of bytes handed to
``play``; ``[a:b]`` cuts as in Python. ``agent`` is the first agent link, ``agent1`` the one after it. Peers also come
``up``, ``fail`` (cannot be dialled), ``fin`` and ``rst``; the guard ``starts``, ``drains`` and ``waits`` seconds.
The outcome is, in this order: anomalies as ``action name``, NOTIFYs given up, the agent's state, links lost and up, what
was written (``ok``: exactly what was said, to the other side), dials and closes, the end, ACKs handed over as ``for`` the
number of another session. ``held``: nothing but bytes kept; ``nothing``: nothing at all.
"""

import math
import re
from dataclasses import replace
from typing import Any

from spoe_guard.core import observed as observing
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.session import Session
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import (
    AgentUnreachable,
    AnomalySeen,
    DialFailure,
    Event,
    LinkLost,
    LinkReason,
    LinkUp,
    NotifiesRedispatched,
    NotifiesUnanswered,
    SessionEnded,
)
from spoe_guard.core.terms.output import Close, Output
from spoe_guard.core.terms.policy import Policy
from spoe_guard.core.terms.states import SessionState
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import frame
from tests.carrier import carry, passed
from tests.core import frames

HANDSHAKE = """
    haproxy HAPROXY_HELLO -> held, dial
    agent   up            -> to_agent HAPROXY_HELLO
    agent   AGENT_HELLO   -> to_haproxy AGENT_HELLO
"""
FAST = True  # the fast path, or every frame the readable way; see conftest.both_speeds
UP = HANDSHAKE.partition("agent   AGENT_HELLO")[0]  # the agent has HAPROXY-HELLO and owes its own
MOST_TICKS = 20  # in one wait; a timer that rings more often than that spins


class Talk:
    """A session between two scripted sides, with a shell that does what the session asks and holds it to its word."""

    def __init__(
        self,
        policy: dict[Anomaly, Action] | None = None,
        *,
        now: float = 1000.0,
        route_state: RouteState | None = None,
        **config: Any,
    ) -> None:
        self.config = SessionConfig(policy=Policy(policy), **config)
        self.tally = Tally()
        self.now = now
        self._unread_since, self._read = now, 0
        route_state = route_state or RouteState()
        if route_state.read is None:
            route_state = replace(route_state, read=self._haproxy_read)
        kind = observing.ObservedSession if self.config.observe else Session
        self.session = kind(self.config, self.tally, now, route_state, fast=FAST)
        self.events: list[Event] = []
        self.written = {"to_agent": b"", "to_haproxy": b""}
        self.sent = {Side.AGENT: b"", Side.HAPROXY: b""}
        self.foreign: list[tuple[int, bytes]] = []  # handed over to others
        self.taken = 0  # bytes of what others handed over
        self.bytes: dict[str, bytes] = {}
        self.got: dict[str, bytes] = {}  # what each agent link was written, by name
        self._shut: set[str] = set()
        self._up: set[str] = set()

    @property
    def said_by_agent(self) -> bytes:
        return self.sent[Side.AGENT]

    @property
    def said_by_haproxy(self) -> bytes:
        return self.sent[Side.HAPROXY]

    @property
    def anomalies(self) -> list[AnomalySeen]:
        return [event for event in self.events if isinstance(event, AnomalySeen)]

    def play(self, script: str, **named: bytes) -> "Talk":
        """Run ``script``; ``named`` are bytes it may call by ``<name>``."""
        self.bytes.update(named)
        expected = [" ".join(line.split()) for line in script.splitlines() if line.strip()]
        played = []
        for line in expected:
            who_what = line.partition(" -> ")[0]
            who, _, what = who_what.partition(" ")
            played.append(f"{who_what} -> {self._line(who, what)}")
        assert played == expected
        self._check_books()
        return self

    def take(self, raw: bytes) -> str:
        """Be handed ``raw`` by another session; return what comes of it."""
        self.taken += len(raw)
        words = self._obey(self.session.take_foreign(raw, self.now), raw, "to_haproxy")
        self._check_books()
        return ", ".join(words) or "nothing"

    def _haproxy_read(self) -> int:
        """HAProxy reads what it is written, as soon as any time has passed."""
        return self._read if self.now == self._unread_since else len(self.written["to_haproxy"])

    # --- one line ------------------------------------------------------------------------------------------------------

    def _line(self, who: str, what: str) -> str:
        if who == "guard":
            return self._guard(*what.split())
        side = Side(who.rstrip("0123456789"))
        link = int(who.removeprefix(side.value) or 0)
        act = {"up": self._connected, "fail": self._failed, "fin": self._fin, "rst": self._rst}.get(what)
        held = self.session.held
        sent = b"" if act else self._encode(what)
        self.sent[side] += sent
        out = act(side, link) if act else carry(self.session, side, sent, self.now, link)
        words = self._obey(out, sent, "to_agent" if side is Side.HAPROXY else "to_haproxy")
        if sent and self.session.held > held and "ok" not in words:
            words.insert(0, "held")
        return ", ".join(words) or "nothing"

    def _guard(self, verb: str, seconds: str = "0") -> str:
        if verb != "waits":
            steps = {"starts": self.session.start, "drains": self.session.drain}
            out = self.session.give_way(self.now) if verb == "yields" else steps[verb](self.now)
            return ", ".join(self._obey(out, b"", "")) or "nothing"
        until = self.now + float(seconds)
        words = []
        for _ in range(MOST_TICKS):
            if self.session.deadline > until:
                self.now = until
                return ", ".join(words) or "nothing"
            self.now = max(self.now, self.session.deadline)
            words += self._obey(self.session.tick(self.now), b"", "")
        raise AssertionError(f"the timer rings again and again: {self.now}, next {self.session.deadline}")

    def _encode(self, what: str) -> bytes:
        return b"".join(self._piece(piece.strip()) for piece in what.split(" + "))

    def _piece(self, piece: str) -> bytes:
        piece, _, span = piece.partition("[")
        if match := re.fullmatch(r"<(\w+)>", piece):
            data = self.bytes[match[1]]
        else:
            name, _, argument = piece.partition(" ")
            data = frames.NAMED[name](argument)
        if span:
            first, _, last = span.rstrip("]").partition(":")
            data = data[int(first) if first else None : int(last) if last else None]
        return data

    def _connected(self, _: Side, link: int = 0) -> Output:
        self._up.add(_name(link))
        return self.session.agent_connected(self.now, *_other(link))

    def _failed(self, _: Side, link: int) -> Output:
        return self.session.agent_failed(DialFailure.REFUSED, "connection refused", self.now, *_other(link))

    def _fin(self, side: Side, link: int) -> Output:
        return self._closed(side, link, reset=False)

    def _rst(self, side: Side, link: int) -> Output:
        self._shut.add(_name(link) if side is Side.AGENT else "to_haproxy")
        return self._closed(side, link, reset=True)

    def _closed(self, side: Side, link: int, *, reset: bool) -> Output:
        return self.session.closed(side, self.now, reset=reset, **({"link_id": link} if link else {}))

    # --- what a shell does ---------------------------------------------------------------------------------------------

    def _obey(self, out: Output, sent: bytes, passes: str) -> list[str]:
        """Do what ``out`` asks and put it in words."""
        ended = any(isinstance(event, SessionEnded) for event in self.events)
        assert not (ended and out.events), f"reported behind the end: {out.events}"
        self.events += out.events
        last = [event for event in out.events if isinstance(event, SessionEnded)]
        assert not last or last == [out.events[-1]], "SessionEnded is to be the last event"
        if isinstance(self.session, Session):
            assert self.session.deadline <= self.session.snapshot().next_deadline, "the timer would ring too late"
        words = [word for event in out.events if not isinstance(event, SessionEnded) and (word := _event(event))]
        orders = [order for order in (out, *out.more) if order.to_agent or order.dial or order.close_agent is not Close.KEEP]
        for order in orders:
            words += self._write(_name(order.link_id), order.to_agent, sent, passes)
        words += self._write("to_haproxy", out.to_haproxy, sent, passes)
        words += [f"dial {order.link_id or ''}".strip() for order in orders if order.dial]
        closes = [("to_haproxy", out.close_haproxy), *((_name(order.link_id), order.close_agent) for order in orders)]
        self._ends_with_disconnect(out)
        for way, how in closes:
            if how is not Close.KEEP:
                if how is Close.HALF and not self.config.observe:
                    self._shut.add(way)  # it comes behind AGENT-DISCONNECT and says nothing new
                    continue
                words.append(f"{'close' if how is Close.FLUSH else how.value} {way.removeprefix('to_')}")
                self._shut.add(way)
        if last:
            words.append(f"end {last[0].by.value} {last[0].reason.value}")
            assert self.session.deadline == math.inf
        elif not self.config.observe and self.session.state is not SessionState.CLOSED:
            assert self.session.deadline < math.inf, "a session that is not over has no deadline"
        assert out.events or not out.foreign, "an ACK is handed over and nothing said of it"
        self.foreign += out.foreign
        return words + [f"for {number}" for number, _ in out.foreign]

    def _ends_with_disconnect(self, out: Output) -> None:
        """The guard half-closes nothing but HAProxy's connection, behind AGENT-DISCONNECT."""
        if not isinstance(self.session, Session):
            return
        if out.close_haproxy is Close.HALF:
            assert list(frames.cut(self.written["to_haproxy"]))[-1].type == frame.AGENT_DISCONNECT
        assert Close.HALF not in [order.close_agent for order in (out, *out.more)]

    def _write(self, way: str, data: bytes, sent: bytes, passes: str) -> list[str]:
        if not data:
            return []
        if not self.config.observe:
            assert way not in self._shut, f"written on a connection that was closed: {data.hex()}"
        assert way == "to_haproxy" or way in self._up, "written to an agent that is not there"
        if way == "to_haproxy":
            self._unread_since, self._read = self.now, self._haproxy_read()
        self.written[way.rstrip("0123456789")] += data
        self.got[way] = self.got.get(way, b"") + data
        if data == sent and way == passes:
            return ["ok"]
        if self.config.observe:
            return [f"{way} {len(data)} bytes"]
        return [f"{way} {_frame(one)}" for one in frames.cut(data)]

    def _check_books(self) -> None:
        """Bytes in are bytes forwarded, dropped and held; bytes out are bytes forwarded and authored; gauges agree."""
        session = self.session
        assert self.tally.bytes_to_agent == len(self.sent[Side.HAPROXY])
        assert self.tally.bytes_to_haproxy == len(self.sent[Side.AGENT])
        assert self.tally.open_notifies == session.open_notifies
        if isinstance(session, observing.ObservedSession):
            return
        stands = session.snapshot()
        assert self.tally.held_bytes == session.held
        books, queued = stands.to_haproxy, stands.queued
        came = sum(len(sent) for sent in self.sent.values()) + self.taken
        to_agent, to_haproxy = passed(session)
        done = sum(each.forwarded + each.dropped for each in (stands.to_agent, books))
        assert done + session.held - queued == came - to_agent - to_haproxy
        assert stands.to_agent.forwarded + stands.to_agent.authored == len(self.written["to_agent"]) - to_agent
        assert books.forwarded + books.authored - books.undelivered == len(self.written["to_haproxy"]) + queued - to_haproxy
        if session.state is SessionState.CLOSED:
            assert not session.held
            assert not session.open_notifies


def running(policy: dict[Anomaly, Action] | None = None, *, hello: bytes = b"", answer: bytes = b"", **config: Any) -> Talk:
    """Return a talk behind its handshake; ``hello`` and ``answer`` in place of the ordinary ones, which pass as they are."""
    talk = Talk(policy, **config)
    if not hello and not answer:
        return talk.play(HANDSHAKE)
    hello, answer = hello or frames.haproxy_hello(), answer or frames.agent_hello()
    talk.session.start(talk.now)
    for side, data in ((Side.HAPROXY, hello), (None, b""), (Side.AGENT, answer)):
        if side is None:
            out = talk._connected(Side.AGENT)
        else:
            talk.sent[side] += data
            out = talk.session.receive(side, data, talk.now)
        talk._obey(out, data, "to_agent" if side is Side.HAPROXY else "to_haproxy")
    assert talk.session.state is SessionState.RUNNING
    return talk


def plant_a_bug(session: Session) -> None:
    """Make ``session`` raise KeyError at its next anomaly: it finds no rule for it."""
    policy = Policy()
    policy._agent.clear()
    policy._haproxy.clear()
    session._conv.report.policy = policy


def play(
    script: str, policy: dict[Anomaly, Action] | None = None, *, named: dict[str, bytes] | None = None, **config: Any
) -> Talk:
    """Run ``script`` behind an ordinary handshake."""
    return running(policy, **config).play(script, **(named or {}))


def _other(link: int) -> tuple[int, ...]:
    """The argument that names a link; an observed session has one only and takes none."""
    return (link,) if link else ()


def _name(link: int) -> str:
    return f"to_agent{link or ''}"


def _event(event: Event) -> str:
    if isinstance(event, AnomalySeen):
        return f"{event.action.value} {event.anomaly.value}"
    if isinstance(event, NotifiesUnanswered):
        return f"unanswered {event.reason.value} {event.count}"
    if isinstance(event, AgentUnreachable):
        return f"unreachable {event.reason.value}"
    if isinstance(event, LinkLost):
        return f"lost {event.reason.value} {event.open_notifies}/{event.again}"
    if isinstance(event, LinkUp) and event.reason in (LinkReason.REPLACEMENT, LinkReason.PARALLEL):
        return f"{event.reason.value} up"
    if isinstance(event, NotifiesRedispatched):
        return f"redispatched {event.kind.value} {event.count}"
    return ""


def _frame(sent: frame.Frame) -> str:
    name = frame.TYPE_NAMES.get(sent.type, str(sent.type))
    if name.endswith("DISCONNECT"):
        return f"{name} {sent.payload[13]}"  # behind the key status-code and its type
    return name if name.endswith("HELLO") else f"{name} {sent.stream_id}.{sent.frame_id}"
