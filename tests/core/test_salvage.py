"""ACKs in a broken stream: the parser recovers certain ones only, in any segmentation, and buffers at most one frame."""

import pytest

from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.core.incoming.agent.effort import WORK_A_TURN, Effort
from spoe_guard.core.incoming.agent.salvage import Salvage
from spoe_guard.wire.actions import MOST as MOST_ACTIONS
from tests.core import frames
from tests.core.frames import SET_VAR, UNSET_VAR, ack, agent_disconnect, raw

MOST = 300
ONE, TWO = ack("1.1"), ack("300.1")
ODD = ack(payload=SET_VAR[:-1] + b"\x10")
NOISE = bytes(range(1, 40))

CASES = [
    # name                                 stream                                             found
    ("nothing",                            b"",                                               []),
    ("noise",                              NOISE,                                             []),
    ("an ACK alone",                       ONE,                                               [ONE]),
    ("in noise",                           NOISE + ONE + NOISE,                               [ONE]),
    ("two, back to back",                  ONE + TWO,                                         [ONE, TWO]),
    ("two, apart",                         NOISE + TWO + NOISE + ONE,                         [TWO, ONE]),
    ("twice the same",                     ONE + NOISE + ONE,                                 [ONE]),
    ("inside a DISCONNECT",                agent_disconnect()[:20] + ONE + agent_disconnect()[20:], [ONE]),
    ("its head first, then the whole",     ONE[:12] + ONE,                                    [ONE]),
    ("one inside the other",               ONE[:13] + TWO + ONE[13:],                         [TWO]),
    ("behind another's head, cut short",   ack("7.1")[:10] + ack(payload=b""),                [ack(payload=b"")]),
    ("of a NOTIFY that is not open",       ack("7.1"),                                        []),
    ("ids in full width",                  ack(f"{1 + 2**32}.1"),                             []),
    ("without FIN",                        ack(flags=0),                                      []),
    ("aborted",                            ack(flags=3),                                      []),
    ("cut off",                            ONE[:-1],                                          []),
    ("without its length",                 ONE[4:],                                           []),
    ("a length one too short",             raw(ONE[4:])[:3] + bytes((ONE[3] - 1,)) + ONE[4:], []),
    ("a length one too long",              ONE[:3] + bytes((ONE[3] + 1,)) + ONE[4:] + NOISE,  []),
    ("a length below the least",           b"\0\0\0\6" + ONE[4:],                             []),
    ("ids that do not end",                raw(b"\x67\0\0\0\1" + frames.ENDLESS) + NOISE,     []),
    ("no action",                          ack(payload=b""),                                  [ack(payload=b"")]),
    ("a bad boolean",                      ODD,                                               [ODD]),
    ("an action cut short",                ack(payload=SET_VAR[:-1]),                         []),
    ("a stray zero is not certain",        ack(payload=UNSET_VAR + b"\0" + SET_VAR),          []),
    ("of the greatest size",               frames.sized(103, MOST),                           [frames.sized(103, MOST)]),
    ("one byte more",                      frames.sized(103, MOST + 1),                       []),
]  # fmt: skip


def search(*parts: bytes) -> tuple[list[bytes], int, Salvage]:
    """Feed ``parts``; return the ACKs found, how much else was seen off, and the search."""
    ledger = Ledger()
    for at in ("1.1", "300.1"):
        ledger.add(next(frames.cut(ack(at))).ids, 0.0)
    salvage = Salvage(ledger, MOST)
    found: list[bytes] = []
    junk = 0
    for part in parts:
        acks, more = salvage.feed(part)
        assert more >= 0
        assert salvage.held <= MOST + 4
        junk += more
        for sent, at in acks:
            assert b"".join(parts)[at : at + len(sent.raw)] == sent.raw
            ledger.pop(sent.ids)
            found.append(sent.raw)
    return found, junk, salvage


@pytest.mark.parametrize(("stream", "found"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_whole_acks_of_open_notifies_are_found_and_nothing_else(stream: bytes, found: list[bytes]) -> None:
    got, junk, salvage = search(stream)
    assert got == found
    assert junk + sum(map(len, got)) + salvage.held == len(stream)


@pytest.mark.parametrize(("stream", "found"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_the_same_byte_by_byte(stream: bytes, found: list[bytes]) -> None:
    got, junk, salvage = search(*(stream[at : at + 1] for at in range(len(stream))))
    assert got == found
    assert junk + sum(map(len, got)) + salvage.held == len(stream)


@pytest.mark.parametrize(("stream", "found"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_the_same_where_each_turn_is_over_at_once(stream: bytes, found: list[bytes]) -> None:
    ledger = Ledger()
    for at in ("1.1", "300.1"):
        ledger.add(next(frames.cut(ack(at))).ids, 0.0)
    effort = Effort()
    salvage = Salvage(ledger, MOST, effort)
    got: list[bytes] = []
    junk, turns, data = 0, 0, stream
    while data or salvage.paused:
        effort.take_of_turn(WORK_A_TURN - 8)  # what one candidate takes at least
        acks, more = salvage.feed(data)
        data = b""
        junk += more
        turns += 1
        for sent, at in acks:
            assert stream[at : at + len(sent.raw)] == sent.raw
            ledger.pop(sent.ids)
            got.append(sent.raw)
        assert junk + sum(map(len, got)) + salvage.held == len(stream)
    assert got == found
    assert turns >= len(found)


def test_a_search_that_pauses_goes_on_before_it_is_fed_again() -> None:
    ledger, effort = Ledger(), Effort()
    ledger.add(next(frames.cut(ONE)).ids, 0.0)
    salvage = Salvage(ledger, MOST, effort)
    effort.take_of_turn(WORK_A_TURN)
    assert salvage.feed(NOISE + ONE + NOISE) == ([], 0)
    assert (salvage.paused, salvage.held) == (True, len(NOISE + ONE + NOISE))
    [(found, at)], _ = salvage.feed(b"")
    assert (found.raw, at, salvage.paused) == (ONE, len(NOISE), False)


def test_release_in_a_pause_hands_back_what_was_not_searched() -> None:
    ledger, effort = Ledger(), Effort()
    ledger.add(next(frames.cut(ONE)).ids, 0.0)
    salvage = Salvage(ledger, MOST, effort)
    effort.take_of_turn(WORK_A_TURN - 8)
    [(found, _)], junk = salvage.feed(NOISE + ONE + TWO)
    assert (found.raw, junk, salvage.held) == (ONE, len(NOISE), len(TWO))
    assert salvage.release() == TWO
    assert (salvage.held, salvage.paused) == (0, False)


def test_release_hands_back_what_is_kept_and_keeps_nothing() -> None:
    _, _, salvage = search(NOISE + ONE[:15])
    assert salvage.held == 15
    assert salvage.release() == ONE[:15]
    assert salvage.held == 0
    assert salvage.release() == b""


@pytest.mark.parametrize(("more", "count"), [(0, 1), (1, 0)])
def test_an_ack_of_too_many_actions_is_none(more: int, count: int) -> None:
    ledger = Ledger()
    ledger.add(next(frames.cut(ONE)).ids, 0.0)
    effort = Effort()
    salvage = Salvage(ledger, 10 * MOST_ACTIONS, effort)
    found, _ = salvage.feed(ack(payload=b"\2\2\2\0" * (MOST_ACTIONS + more)) + NOISE)
    assert len(found) == count


@pytest.mark.parametrize("more", [0, 1])
def test_nothing_more_is_looked_for_than_the_bytes_are_worth(more: int) -> None:
    def search_for_one(effort: Effort) -> Salvage:
        ledger = Ledger()
        ledger.add(next(frames.cut(ONE)).ids, 0.0)
        salvage = Salvage(ledger, MOST, effort)
        [(found, _)], junk = salvage.feed(NOISE + ONE + NOISE)
        assert (found.raw, junk + salvage.held) == (ONE, 2 * len(NOISE))
        return salvage

    plenty, enough = Effort(), Effort()
    assert not search_for_one(plenty).spent
    enough.spend(plenty._left + more)
    assert enough.turn_over()
    salvage = search_for_one(enough)
    assert salvage.spent is bool(more)
    assert bool(salvage.held) is not bool(more)
