"""Time: a session without further input ends by its own timer, in a bounded number of timer calls (H7, O3)."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.core.session import Session
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.output import Output
from spoe_guard.core.terms.states import SessionState
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.script import Talk

SAID = {
    Side.HAPROXY: [
        frames.haproxy_hello(), frames.haproxy_hello(healthcheck=True), frames.notify("1.1"), frames.notify("3.1"),
        frames.notify("5.1", flags=0), frames.haproxy_disconnect(), frames.sized(3, 16381), frames.raw(b""), b"GET /",
    ],
    Side.AGENT: [
        frames.agent_hello(), frames.agent_hello(version=b"1.0"), frames.ack("1.1"), frames.ack("3.1"), frames.ack("9.1"),
        frames.agent_disconnect(), frames.raw(b"\x66\0\0\0\1\0\0\x0bstatus"), frames.sized(103, 16381), frame.encode(104),
        b"\xff\xff\xff\xff",
    ],
}  # fmt: skip

steps = st.one_of(
    st.tuples(st.just("says"), st.sampled_from(Side), st.integers(0, 9), st.integers(0, 60)),
    st.tuples(st.sampled_from(["fin", "rst"]), st.sampled_from(Side)),
    st.tuples(st.just("waits"), st.floats(0, 3)),
    st.tuples(st.sampled_from(["up", "fail", "drain"])),
)
STEPS_OF_A_HEALTHY_START = [
    ("says", Side.HAPROXY, 0, 0),
    ("up",),
    ("says", Side.AGENT, 0, 0),
]
MOST_RINGS = 12


class Clocked:
    """A session driven step by step; ``tick`` is called exactly at ``deadline`` and never else."""

    def __init__(self, deadline_s: float | None) -> None:
        self.talk = Talk(answer_deadline_s=deadline_s, idle_s=20.0)
        self.session = self.talk.session
        assert isinstance(self.session, Session)
        self.now = self.talk.now
        self.dialled = False
        self.gone: set[Side] = set()

    def step(self, what: str, *more: Any) -> None:
        session, now = self.session, self.now
        if what == "waits":
            until = now + more[0]
            while session.deadline <= until:
                self.ring()
            self.now = max(self.now, until)
        elif what == "says" and more[0] not in self.gone:
            side, which, short = more
            sent = SAID[side][which % len(SAID[side])]
            self.look(session.receive(side, sent[: len(sent) - short] if short < len(sent) else sent, now))
        elif what in ("fin", "rst"):
            self.gone.add(more[0])
            self.look(session.closed(more[0], now, reset=what == "rst"))
        elif what == "drain":
            self.look(session.drain(now))
        elif what in ("up", "fail") and self.dialled:
            self.dialled = False
            failed = self.talk._failed(Side.AGENT) if what == "fail" else None
            self.look(failed or session.agent_connected(now))

    def ring(self) -> None:
        due = self.session.deadline
        self.now = max(self.now, due)
        self.look(self.session.tick(self.now))
        assert self.session.deadline > self.now, "it would ring again at once"

    def look(self, out: Output) -> None:
        self.dialled = (self.dialled or out.dial) and self.session.state is not SessionState.CLOSED
        assert self.session.deadline <= self.session.snapshot().next_deadline, "it would ring too late"


@given(st.lists(steps, max_size=12), st.booleans(), st.sampled_from([None, 1.0]))
def test_a_session_that_hears_no_more_ends_by_its_own_timer(
    moves: list[tuple[Any, ...]], start: bool, answer: float | None
) -> None:
    clocked = Clocked(answer)
    for move in [*(STEPS_OF_A_HEALTHY_START if start else []), *moves]:
        clocked.step(*move)
    limits = clocked.talk.config
    latest = clocked.now + limits.idle_s + limits.close_s
    rings = 0
    while clocked.session.deadline < math.inf:
        clocked.ring()
        rings += 1
        assert rings <= MOST_RINGS
    assert clocked.session.state is SessionState.CLOSED
    assert clocked.now <= latest
    assert (clocked.talk.tally.held_bytes, clocked.talk.tally.open_notifies) == (0, 0)
