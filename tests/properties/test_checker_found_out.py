"""The checker detects a guard that lets HAProxy wait in vain, or that answers in an agent's place what it should not."""

import math
import re
from dataclasses import replace
from typing import Any

import pytest

from spoe_guard.core.conversation import links as links_part
from spoe_guard.core.conversation import notifies as notifies_part
from spoe_guard.core.conversation.ending import Awaited, Ending
from spoe_guard.core.conversation.links import Links
from spoe_guard.core.conversation.notifies import Notifies
from spoe_guard.core.conversation.to_haproxy import ToHAProxy
from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.incoming.walker import Walker
from spoe_guard.core.payloads import hello as hello_part
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig, Unanswered
from spoe_guard.core.terms.events import UnansweredReason
from spoe_guard.core.terms.policy import Policy
from tests.builds import puts_in_place
from tests.properties import spop
from tests.properties.checker import broken_promises
from tests.properties.conversations import AGENT, HAPROXY, Leave, Move, Reach, Say, Wait, agent
from tests.properties.driver import Dial, Play, terms_of
from tests.properties.frames import NULL_VALUE

HELLO, ANSWER = Say(HAPROXY, spop.haproxy_hello()), spop.agent_hello()
OPENING: list[Move] = [HELLO, Reach(0), Say(AGENT, ANSWER)]


def notify(*streams: int) -> Say:
    return Say(HAPROXY, b"".join(spop.frame(spop.NOTIFY, (stream, 1), spop.ONE_MESSAGE) for stream in streams))


SET = SessionConfig(unanswered=Unanswered.SET, error_name=b"error", give_up_s=0.4, answer_deadline_s=0.3)
TELL = replace(SET, unanswered=Unanswered.TELL)
LEAVE = replace(SET, unanswered=Unanswered.LEAVE)
AWAY: list[Move] = [HELLO, Reach(0, up=False), Wait(0.5), Wait(0.1), notify(1), Wait(0.1)]
LATE: list[Move] = [*OPENING, notify(1), Wait(0.3), Wait(0.1)]
LOST: list[Move] = [*OPENING, notify(1), Leave(AGENT), Wait(0.1)]
PARKED: list[Move] = [*OPENING, Leave(AGENT), notify(1), Wait(0.25), Reach(1), Say(agent(1), ANSWER), Wait(0.1)]

PASSES = replace(LEAVE, policy=Policy({Anomaly.UNMATCHED_ACK: Action.PASS}))

TOO_LONG: list[Move] = [
    Say(HAPROXY, spop.frame(spop.NOTIFY, (1, 1), bytes(900), 0) + spop.frame(spop.UNSET, (1, 1), bytes(900), 0)),
    Wait(0.1),
    Say(HAPROXY, spop.frame(spop.UNSET, (1, 1))),
]
SMALL: list[Move] = [HELLO, Reach(0), Say(AGENT, spop.agent_hello(1024))]

tell, answer, pump, encode = Ending.tell, Notifies._answer, Links.pump, hello_part.kv.encode


def stray(stream: int) -> Say:
    return Say(AGENT, spop.frame(spop.ACK, (stream, 1), spop.ALLOWED))


def passes_on(self: Walker, anomaly: Anomaly, frame: Any, now: float, whole: bytes | None = None) -> None:
    self.pass_on(frame, frame.raw)


def passes_all(self: Policy, side: Side, anomaly: Anomaly, *, applet: bool = False) -> Action:
    return Action.PASS


def tells_nobody(self: Any, now: float) -> None:
    self._notifies.take_untold()


def tells_at_once(self: Any, now: float) -> None:
    tell(self, now)
    if self.waits is not None and self.waits.what is Awaited.OTHERS:
        self.wait_over(now)


def answers_twice_over(self: Any, ids: bytes, reason: Any) -> bytes:
    raw = answer(self, ids, reason)
    return (2 * len(raw) - 13 - len(ids)).to_bytes(4, "big") + raw[4:] + raw[9 + len(ids) :]


def parks_without_end(self: Any, now: float) -> Any:
    found = pump(self, now)
    return found if self._progress.outlives_links else None


def with_another_key(pairs: Any) -> bytes:
    return encode(pairs) + (b"\x03ver\x08\x012" if pairs[0].name == b"version" else b"")


def but(reason: UnansweredReason) -> Any:
    return notifies_part._HAPROXY_WAITS - {reason}


# What is broken and how, the settings, what happens, and what is said of it.
BREAKAGES: dict[str, tuple[Any, str, Any, SessionConfig, list[Move], str]] = {
    "no AGENT-HELLO": (Links, "stands_in_at", lambda self: math.inf, SET, [HELLO, Wait(0.5), Wait(0.1)], "no AGENT-HELLO by"),
    "AGENT-HELLO later than HAProxy waits": (
        Links, "stands_in_at", lambda self: math.inf, replace(SET, agent_hello_s=0.1, give_up_s=5.0), [HELLO, Wait(0.5)],
        "no AGENT-HELLO by 1000.100",
    ),
    "no answer at the deadline": (
        notifies_part, "_HAPROXY_WAITS", but(UnansweredReason.DEADLINE), SET, LATE, "nothing became of NOTIFY",
    ),
    "no answer for what was lost": (
        notifies_part, "_HAPROXY_WAITS", but(UnansweredReason.AGENT_GONE), replace(SET, answer_deadline_s=None), LOST,
        "nothing became of NOTIFY",
    ),
    "an absent agent is waited for": (
        links_part, "AWAY_WAIT_S", 0.2, replace(SET, answer_deadline_s=None), AWAY, "nothing became of NOTIFY",
    ),
    "HAProxy is left waiting for an absent agent": (
        links_part, "AWAY_WAIT_S", 0.2, replace(LEAVE, answer_deadline_s=None), AWAY, "nothing became of NOTIFY",
    ),
    "parked for too long": (
        Links, "_longest_wait_s", math.inf, replace(LEAVE, park_s=0.2, answer_deadline_s=None), PARKED, "it was to wait until",
    ),
    "HAProxy is not told of a deadline": (Ending, "tell", tells_nobody, TELL, LATE, "is not told of NOTIFY"),
    "HAProxy is not told of what was lost": (
        Ending, "tell", tells_nobody, replace(TELL, answer_deadline_s=None), [*LOST, Wait(0.6)], "nothing became of NOTIFY",
    ),
    "HAProxy is told before the others are answered": (
        Ending, "tell", tells_at_once, replace(TELL, open_notifies=2),
        [*OPENING, notify(1), Wait(0.001), notify(3), Wait(0.001), notify(5), Wait(0.1)], "H5",
    ),
    "an answer where HAProxy gets none": (
        notifies_part, "_BY_ACK", frozenset(Unanswered), LEAVE, LATE, "H3: ACK .* which no agent wrote",
    ),
    "an answer that sets it twice": (Notifies, "_answer", answers_twice_over, SET, LATE, "H3: ACK .* which no agent wrote"),
    "an answer with a code HAProxy has not": (
        notifies_part, "ERROR_CODES", dict.fromkeys(notifies_part.ERROR_CODES, 7), SET, LATE, "H3: ACK .* which no agent wrote",
    ),
    "an answer before the last fragment": (
        Notifies, "lose_arriving", Notifies.end_arriving, SET, [*SMALL, *TOO_LONG], "before the last fragment",
    ),
    "HAProxy may send no fragments": (hello_part, "_always_shown", lambda *_: [], SET, OPENING, "HAProxy may send no fragments"),
    "a key that HAProxy does not know": (
        hello_part.kv, "encode", with_another_key, SET, OPENING, "keys that HAProxy does not know",
    ),
    "no FIN behind AGENT-DISCONNECT": (
        ToHAProxy, "told_end", lambda self, now: None, replace(TELL, answer_deadline_s=None), LOST, "H7: no FIN behind",
    ),
    "parked where no agent will come": (
        Links, "pump", parks_without_end, replace(LEAVE, give_up_s=0.0, answer_deadline_s=None),
        [HELLO, Reach(0, up=False), notify(1), Wait(1.5)], "H7: not closed",
    ),
    "a stream-id that HAProxy cannot have": (
        AgentStream, "unasked", passes_on, PASSES, [*OPENING, stray(1 << 31)], "stream-id 2147483648, which HAProxy",
    ),
    "stream-id 0": (
        AgentStream, "can_take", Walker.can_take, PASSES, [*OPENING, stray(0)], "with stream-id 0, which HAProxy did not ask for",
    ),
    "an ACK without an action": (
        Policy, "action", passes_all, LEAVE, [*OPENING, notify(1), Say(AGENT, spop.frame(spop.ACK, (1, 1)))], "without an action",
    ),
    "NULL for a value": (
        Policy, "action", passes_all, LEAVE, [*OPENING, notify(1), Say(AGENT, spop.frame(spop.ACK, (1, 1), NULL_VALUE))], "NULL",
    ),
}  # fmt: skip


@puts_in_place
@pytest.mark.parametrize("how", BREAKAGES)
def test_the_checker_finds_out_a_guard_that_is_broken(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    where, name, broken, config, moves, sent = BREAKAGES[how]

    def found() -> str:
        return "\n".join(broken_promises(Play(config, dial=Dial.NEVER).play(moves).finish().transcript, terms_of(config)))

    assert found() == ""
    monkeypatch.setattr(where, name, broken)
    assert re.search(sent, found())
