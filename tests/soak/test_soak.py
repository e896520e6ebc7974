"""The output of the soak's agent, without a peer; the soak itself is `make soak`."""

import contextlib
import random

from spoe_guard.lab import frames
from spoe_guard.wire import frame
from tests.fuzz.corpus import seeds
from tests.properties import spop
from tests.properties.conversations import AGENT, Say
from tests.soak.agent import Player, _for, _notifies, _renamed

PLAYS = 300


def notifies(*stream_ids):
    return [frame.parse(frames.notify(stream_id, 1, b"/x")) for stream_id in stream_ids]


def sent(case):
    return b"".join(move.data for move in case.moves if isinstance(move, Say) and move.side == AGENT)


def test_a_renamed_ack_gets_the_ids_and_length_it_is_due():
    ack = spop.frame(spop.ACK, (1007, 1), spop.ALLOWED)
    ids = [(spop.integer(1007) + b"\1", spop.integer(9) + b"\1"), (b"\5\1", spop.integer(70000) + b"\1")]
    renamed = _renamed(ack + spop.frame(spop.ACK, (5, 1)) + ack[:11], ids)
    assert renamed == spop.frame(spop.ACK, (9, 1), spop.ALLOWED) + spop.frame(spop.ACK, (70000, 1)) + ack[:11]


def test_what_was_recorded_answers_the_notifies_there_are_now():
    answered = set()
    for case in seeds().values():
        if len(_notifies(case)) > 1:
            now = notifies(*range(300, 300 + len(_notifies(case))))
            for raw in spop.cut(sent(_for(case, now)))[0]:
                with contextlib.suppress(spop.UnreadableError):
                    answered |= {spop.read_frame(raw).stream_id} & {each.stream_id for each in now}
    assert len(answered) > 10


def test_the_same_seed_says_the_same_and_another_one_something_else():
    def plays(seed):
        player, chance = Player(), random.Random(seed)
        return [said_by(player, chance) for _ in range(PLAYS)], player.plays

    def said_by(player, chance):
        moves = player.answered(notifies(1, 3), chance)
        return [move.data for move in moves if isinstance(move, Say) and move.side == AGENT]

    first, played = plays(1)
    assert first == plays(1)[0] != plays(2)[0]
    due = [frames.ack(each, frames.text_verdict(b"verdict", b"/x")) for each in notifies(1, 3)]
    assert 0.2 * PLAYS < first.count(due) < 0.6 * PLAYS  # it behaves as often, so that connections live on
    assert played > 0.5 * PLAYS
