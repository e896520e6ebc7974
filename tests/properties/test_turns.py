"""What one turn handles before others have theirs decides nothing: much or little of it, the conversation is the same."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spoe_guard.core.incoming import walker
from spoe_guard.core.incoming.agent import effort, from_agent, torn
from spoe_guard.core.incoming.inlet import HEADER_BYTES
from spoe_guard.core.terms.config import SessionConfig
from tests.builds import puts_in_place
from tests.cost.shapes import in_an_ack, never_in_order, within_a_length, within_disconnect
from tests.properties import spop
from tests.properties.configs import any_policy, configs
from tests.properties.conversations import AGENT, HAPROXY, Say, good_opening, standing_still
from tests.properties.driver import Dial, Play
from tests.properties.effort import marks, thoroughly
from tests.properties.frames import ACTIONS, KNOWN, agent_bytes, disconnects, weighted
from tests.properties.test_equivalence import counted_but_bytes, told, too_much_waited, written

pytestmark = [*marks, puts_in_place]


@contextmanager
def turns(work: int, taken: int, frames: int) -> Iterator[None]:
    """In each of them so much work is done for what is torn, so many bytes are taken, so many frames are judged."""
    with ExitStack() as stack:
        for module, name, value in (
            (effort, "WORK_A_TURN", work),
            (torn, "TAKEN_AT_ONCE", taken),
            (from_agent, "TAKEN_AT_ONCE", max(taken, HEADER_BYTES)),  # it may have kept so many
            (walker, "BYTES_A_TURN", taken),
            (walker, "FRAMES_A_TURN", frames),
        ):
            stack.enter_context(mock.patch.object(module, name, value))
        yield


few = st.tuples(st.sampled_from([1, 1, 40, 200]), st.sampled_from([1, 1, 7, 100]), st.sampled_from([1, 2, 10]))


@st.composite
def woven(draw: st.DrawFn) -> list[Say]:
    """NOTIFYs, and what several threads write between one another without a lock: ACKs, DISCONNECTs, and what is neither."""
    ids = draw(st.lists(KNOWN, min_size=1, max_size=4, unique=True))
    frames = [spop.frame(spop.ACK, one, draw(ACTIONS)) for one in ids]
    frames += draw(st.lists(weighted((2, disconnects(spop.AGENT_DISCONNECT)), (1, agent_bytes)), max_size=2))
    threads = [[raw[:4], raw[4:11], raw[11:]] if draw(st.booleans()) else [raw[:4], raw[4:]] for raw in frames]
    rng = random.Random(draw(st.integers(0, 2**32)))
    sent = b""
    while any(threads):
        one = rng.choice([each for each in threads if each])
        sent += one.pop(0)
    asked = b"".join(spop.frame(spop.NOTIFY, one, spop.ONE_MESSAGE) for one in ids)
    return [move for move in (Say(HAPROXY, asked), Say(AGENT, sent)) if move.data]


weaving = st.lists(woven(), min_size=1, max_size=3).map(lambda parts: [move for part in parts for move in part])
torn_streams = st.builds(lambda start, rest: [*start, *rest], good_opening, weaving)


def both(moves, config, some):
    """What ``moves`` lead to, and what where a turn handles only ``some``."""
    much = Play(config, dial=Dial.NEXT).play(moves)
    with turns(*some):
        return much, Play(config, dial=Dial.NEXT).play(moves)


def assert_alike(much, little):
    assert written(much) == written(little)
    assert told(much) == told(little)
    assert counted_but_bytes(much.tally) == counted_but_bytes(little.tally)


@thoroughly
@given(weighted((2, torn_streams), (1, standing_still)), configs(any_policy, lasts=False, tells=False, floods=False), few)
def test_how_much_a_turn_handles_changes_neither_bytes_nor_events(moves, config, some):
    much, little = both(moves, config, some)
    assume(not too_much_waited(much) and not too_much_waited(little))
    assert_alike(much, little)


@pytest.mark.parametrize("make", [never_in_order, within_a_length, in_an_ack, within_disconnect])
@pytest.mark.parametrize("some", [(1, 1, 1), (1, 4096, 64), (8192, 1, 64), (300, 50, 3)])
def test_however_small_its_turns_all_of_a_torn_stream_is_found(make, some):
    ids = [(number, 1) for number in range(1, 600, 2)]
    asked = b"".join(spop.frame(spop.NOTIFY, one, spop.ONE_MESSAGE) for one in ids)
    opening = [Say(HAPROXY, spop.haproxy_hello()), Say(AGENT, spop.agent_hello(16368))]
    much, little = both([*opening, Say(HAPROXY, asked), Say(AGENT, make(1500))], SessionConfig(), some)
    assert_alike(much, little)
    assert len(spop.cut(little.wires[HAPROXY].got)[0]) > 50
