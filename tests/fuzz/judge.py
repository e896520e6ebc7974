"""Runs a case on both paths of the session and asserts every promise: see driver.py for the byte counts."""

from tests.fuzz.case import BOOKS, EVERY, Case
from tests.properties.books import COUNTERS
from tests.properties.checker import broken_promises
from tests.properties.conversations import HAPROXY
from tests.properties.driver import Play, terms_of
from tests.properties.hellos import first_offer
from tests.properties.stream_ids import broken_stream_ids


def judge(case: Case) -> Play:
    """Raises whatever the session raises, and AssertionError for a promise that is broken."""
    config = case.config
    fast, readable = (
        Play(config, dial=case.knob("dial"), sizes=list(case.knob("pieces")), fast=fast).play(case.moves).finish()
        for fast in (True, False)
    )
    _assert_alike(fast, readable)
    judged = case.knob("judged")
    if config.observe:
        return fast
    if judged == BOOKS:
        strange = broken_stream_ids(fast.transcript)
        assert not strange, "\n".join(strange)
        return fast
    if config.exact_keys and first_offer(fast.wires[HAPROXY].sent) is None:
        return fast  # what the checker takes for no HELLO at all may have been mended
    broken = broken_promises(fast.transcript, terms_of(config), answers=judged == EVERY)
    assert not broken, "\n".join(broken)
    return fast


def _assert_alike(fast: Play, readable: Play) -> None:
    assert fast.wires.keys() == readable.wires.keys(), "the fast path and the readable one dial differently"
    for side in fast.wires:
        assert fast.wires[side].got == readable.wires[side].got, f"the fast path and the readable one differ for the {side}"
    # Of what HAProxy has read, each remembers only some starts of frames, those where it asked. So one of them may take HAProxy
    # for half full a little earlier than the other: it writes the same, a millisecond later.
    if not fast.waited and not readable.waited:
        assert fast.transcript == readable.transcript, "the fast path and the readable one differ in time"
    assert fast.events == readable.events, "the fast path and the readable one report different events"
    for name in COUNTERS:
        assert getattr(fast.tally, name) == getattr(readable.tally, name), f"the fast path and the readable one differ in {name}"
