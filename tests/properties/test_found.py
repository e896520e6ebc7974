"""Failures that the properties found, each pinned as the shortest conversation that shows it."""

import math
from dataclasses import replace

from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.config import SessionConfig, Unanswered
from spoe_guard.core.terms.events import AnomalySeen
from spoe_guard.core.terms.output import Close
from spoe_guard.core.terms.policy import Policy
from spoe_guard.core.terms.states import SessionState
from tests.properties import spop
from tests.properties.checker import broken_promises
from tests.properties.conversations import AGENT, HAPROXY, Drain, Leave, Say, agent
from tests.properties.driver import Dial, Play, terms_of
from tests.properties.test_equivalence import counted_but_bytes, told, written

OPENING = [Say(HAPROXY, spop.haproxy_hello()), Say(AGENT, spop.agent_hello())]
NOTIFY = spop.frame(spop.NOTIFY, (1, 1), spop.ONE_MESSAGE)
ACK = spop.frame(spop.ACK, (1, 1), spop.ALLOWED)
CONFIG = SessionConfig()


def anomalies(played):
    return [event.anomaly for event in played.events if isinstance(event, AnomalySeen)]


def acks(played):
    return [raw for raw in spop.cut(played.wires[HAPROXY].got)[0] if raw[4] == spop.ACK]


def test_a_notify_repeated_after_a_disconnect_keeps_the_open_ones_ack():
    its_disconnect = Say(AGENT, spop.disconnect(spop.AGENT_DISCONNECT))
    played = Play(CONFIG).play([*OPENING, Say(HAPROXY, NOTIFY), its_disconnect, Say(HAPROXY, NOTIFY), Say(AGENT, ACK)]).finish()
    assert acks(played) == [ACK]


def test_a_notify_repeated_while_draining_is_answered_once():
    config = replace(CONFIG, unanswered=Unanswered.EMPTY_ACK)
    played = Play(config).play([*OPENING, Say(HAPROXY, NOTIFY), Drain(), Say(HAPROXY, NOTIFY * 2)]).finish()
    assert len(acks(played)) == 1


def test_an_empty_notify_does_not_take_the_ack_of_an_open_one():
    empty = spop.frame(spop.NOTIFY, (1, 1))
    played = Play(CONFIG).play([*OPENING, Say(HAPROXY, NOTIFY), Say(HAPROXY, empty), Say(AGENT, ACK)]).finish()
    assert acks(played) == [ACK]


def test_a_hello_longer_than_what_a_session_may_hold_is_read_whole():
    hello = spop.haproxy_hello(engine=b"e" * 300)
    config = replace(CONFIG, max_frame_size=256, held_bytes=260)
    for sizes in ([], [1]):
        played = Play(config, sizes=sizes).play([Say(HAPROXY, hello)])
        assert played.session.state is SessionState.AGENT_HELLO
        assert anomalies(played) == []


def test_behind_an_unusable_hello_no_more_than_held_bytes_is_kept():
    config = replace(CONFIG, max_frame_size=256, held_bytes=260)
    hello = Say(HAPROXY, spop.haproxy_hello().replace(b"max-frame-size", b"min-frame-size"))
    for length in (256, 257):
        played = Play(config).play([hello, Say(HAPROXY, length.to_bytes(4, "big") + spop.frame(spop.NOTIFY)[4:] + bytes(240))])
        assert played.session.held == (251 if length == 256 else 0)


def test_noise_is_told_from_its_fifth_byte_however_it_comes():
    for sizes in ([], [1]):
        played = Play(CONFIG, sizes=sizes).play([Say(HAPROXY, b"\0\0\0\x0b\x2a")])
        assert anomalies(played) == [Anomaly.NOT_SPOP]


def test_an_observed_session_that_is_over_has_nothing_to_drain():
    played = Play(replace(CONFIG, observe=True)).play([*OPENING, Drain(), Drain()])
    assert played.session.deadline == math.inf


def test_an_observed_session_keeps_nothing_for_an_agent_that_is_not_there():
    played = Play(replace(CONFIG, observe=True), dial=Dial.NEVER).play([OPENING[0]])
    assert played.session.held == len(OPENING[0].data)
    played.wait(CONFIG.connect_s)
    assert played.session.held == 0


def test_an_observed_session_does_not_wait_for_an_oversized_frame():
    """Observed HELLOs are not clamped, so a peer may negotiate any size; what the shadow keeps of it is bounded all the same."""
    config = replace(CONFIG, observe=True, held_bytes=16384)
    huge = (1 << 30).to_bytes(4, "big") + b"\x67\0\0\0\1" + bytes(1 << 15)
    opening = [Say(HAPROXY, spop.haproxy_hello(2**32 - 1)), Say(AGENT, spop.agent_hello(2**32 - 1))]
    played = Play(config).play([*opening, Say(HAPROXY, NOTIFY), Say(AGENT, huge)])
    assert anomalies(played) == [Anomaly.GARBLED_STREAM]
    assert played.tally.held_bytes <= config.held_bytes


def test_a_repeated_disconnect_with_the_last_answer_comes_behind_it():
    its_disconnect = spop.disconnect(spop.AGENT_DISCONNECT)
    for parts in ([ACK + its_disconnect], [ACK, its_disconnect]):
        sent = [Say(AGENT, part) for part in parts]
        played = Play(CONFIG).play([*OPENING, Say(HAPROXY, NOTIFY), Say(AGENT, its_disconnect), *sent])
        seen = [(event.anomaly, event.state) for event in played.events if isinstance(event, AnomalySeen)]
        assert seen[-1] == (Anomaly.DISCONNECT_REPEATED, "closing")


def test_an_ack_behind_a_checks_hello_fares_alike_on_both_paths():
    opening = [Say(HAPROXY, spop.haproxy_hello(healthcheck=True)), OPENING[1]]
    fast, readable = (Play(CONFIG, fast=way).play([*opening, Say(HAPROXY, NOTIFY), Say(AGENT, ACK)]) for way in (True, False))
    assert acks(fast) == acks(readable)
    assert anomalies(fast) == anomalies(readable)


def test_a_skipped_frames_time_counts_from_its_first_byte():
    oversize = spop.frame(spop.ACK, (1, 1), bytes(300))
    opening = [OPENING[0], Say(AGENT, spop.agent_hello(256))]
    played = Play(CONFIG).play([*opening, Say(AGENT, oversize[:3])])
    played.wait(CONFIG.frame_s - 0.1)
    played.play([Say(AGENT, oversize[3:100])])
    assert played.session.state is SessionState.RUNNING
    played.wait(0.1)
    assert played.session.state is SessionState.CLOSING


def test_a_drained_observed_session_closes_both_sides_when_haproxy_leaves():
    observed = replace(CONFIG, observe=True)
    played = Play(observed).play([*OPENING, Say(HAPROXY, NOTIFY), Drain(), Leave(HAPROXY)])
    assert played.wires[AGENT].closed is Close.FLUSH


SEVERAL = replace(CONFIG, give_up_s=5.0, max_links=20, in_flight=1)


def notify(stream):
    return spop.frame(spop.NOTIFY, (stream, 1), spop.ONE_MESSAGE)


def ack(stream):
    return spop.frame(spop.ACK, (stream, 1), spop.ALLOWED)


def on_both_paths(moves):
    known = [
        Say(HAPROXY, spop.haproxy_hello(capabilities=b"pipelining,async")),
        OPENING[1],
    ]  # so that the fast path is taken at once
    fast, readable = (Play(SEVERAL, fast=fast).play([*known, *moves]).finish() for fast in (True, False))
    assert fast.transcript == readable.transcript
    assert fast.events == readable.events
    return fast


def test_after_an_unknown_frame_the_next_notify_goes_to_the_same_link():
    played = on_both_paths(
        [
            Say(HAPROXY, notify(3) + notify(5) + notify(7)),
            Say(agent(1), spop.agent_hello()),
            Say(agent(1), ack(3) + ack(5)),  # 3 was the first link's, which gets 7 then
            Say(HAPROXY, spop.frame(42, (7, 1))),
            Say(AGENT, ack(7)),
            Say(HAPROXY, notify(9)),
        ]
    )
    assert [spop.read_frame(raw).ids for raw in spop.cut(played.wires[AGENT].got)[0]].count((9, 1)) == 1


def test_bytes_behind_haproxys_disconnect_are_reported_until_all_agents_are_gone():
    played = on_both_paths(
        [
            Say(HAPROXY, notify(5) + notify(7)),
            Say(agent(1), spop.agent_hello()),
            Say(agent(1), ack(7)),
            Leave(AGENT, reset=True),
            Say(HAPROXY, spop.disconnect(spop.HAPROXY_DISCONNECT) + b"\x03"),
        ]
    )
    assert anomalies(played)[-1] is Anomaly.FRAME_AFTER_DISCONNECT


def test_an_oversized_observed_frame_is_the_same_to_both_paths():
    config = replace(CONFIG, observe=True, max_frame_size=256, held_bytes=260)
    long = spop.frame(spop.ACK, (1, 1), spop.ALLOWED + spop.padding(400))
    moves = [
        Say(HAPROXY, spop.haproxy_hello(capabilities=b"pipelining,async")),
        OPENING[1],
        Say(HAPROXY, NOTIFY),
        Say(AGENT, long),
    ]
    fast, readable = (Play(config, fast=fast).play(moves).finish() for fast in (True, False))
    assert fast.events == readable.events
    assert anomalies(fast)[0] is Anomaly.GARBLED_STREAM


def alike(moves, config=CONFIG):
    """What ``moves`` lead to, which is the same when each write comes a byte at a time."""
    whole, cut = (Play(config, dial=Dial.NEXT, sizes=sizes).play(moves) for sizes in ([], [1]))
    assert written(whole) == written(cut)
    assert told(whole) == told(cut)
    assert counted_but_bytes(whole.tally) == counted_but_bytes(cut.tally)
    return whole


ITS_DISCONNECT = spop.disconnect(spop.AGENT_DISCONNECT)
THREE_ASKED = [*OPENING, Say(HAPROXY, notify(1) + notify(3) + notify(5))]


def longer_ack(stream):
    """An ACK whose payload is no other's, nor begins with one."""
    return spop.frame(spop.ACK, (stream, 1), bytes.fromhex("0103 02 0161 08") + spop.text(b"of no list"))


def test_behind_crossed_acks_the_same_read_is_cut_into_frames_again():
    """What is no piece of any frame once cost that ACK, and the link; in a read of its own it was repaired."""
    crossed = ack(1)[:11] + longer_ack(3) + ack(1)[11:]
    without_fin = spop.frame(spop.ACK, (5, 1), spop.ALLOWED, flags=0)
    played = alike([*THREE_ASKED, Say(AGENT, crossed + without_fin + ack(9))])
    assert anomalies(played) == [Anomaly.INTERLEAVED_FRAMES, Anomaly.MISSING_FIN, Anomaly.UNMATCHED_ACK]
    assert [spop.read_frame(raw).ids[0] for raw in acks(played)] == [3, 1, 5]
    [offset] = [event.offset for event in played.events if getattr(event, "anomaly", None) is Anomaly.UNMATCHED_ACK]
    assert offset == len(OPENING[1].data + crossed + without_fin)


def test_pieces_behind_the_end_of_their_link_are_not_heard():
    crossed = ITS_DISCONNECT[:11] + ack(7)[:11] + longer_ack(9)[:11]
    crossed += ITS_DISCONNECT[11:] + ack(7)[11:] + longer_ack(9)[11:]
    played = alike([*OPENING, Say(AGENT, crossed)])
    assert anomalies(played) == [Anomaly.INTERLEAVED_FRAMES]


def test_a_link_that_leaves_ends_with_the_last_answer_in_pieces():
    crossed = ITS_DISCONNECT[:11] + ack(1)[:11] + longer_ack(9)[:11]
    crossed += ITS_DISCONNECT[11:] + ack(1)[11:] + longer_ack(9)[11:]
    config = replace(CONFIG, policy=Policy({Anomaly.UNMATCHED_ACK: Action.PASS}))
    played = alike([*OPENING, Say(HAPROXY, NOTIFY), Say(AGENT, crossed)], config)
    assert acks(played) == [ACK]


def test_an_ack_behind_anothers_head_is_found_when_it_is_complete():
    """Read up to the first of its ids, that head was once given room for the longest ids there are, and the ACK waited, too."""
    empty = spop.frame(spop.ACK, (1, 1))
    played = alike([*OPENING, Say(HAPROXY, NOTIFY), Say(AGENT, b"\xff\xff\xff\xff" + ack(7)[:10] + empty)])
    assert len(acks(played)) == 1


def test_behind_its_last_fragment_a_leaving_session_ends_within_the_read():
    """The NOTIFYs behind it once were answered if they came in the same read, and left to DISCONNECT if they came in the next."""
    config = replace(CONFIG, unanswered=Unanswered.SET)
    first, last = spop.frame(spop.NOTIFY, (1, 1), flags=0), spop.frame(spop.UNSET, (1, 1), spop.ONE_MESSAGE)
    takes_fragments = Say(AGENT, spop.agent_hello(16380, b"pipelining,fragmentation"))
    sent = [Say(HAPROXY, first), Say(AGENT, ITS_DISCONNECT), Say(HAPROXY, last + notify(3))]
    played = alike([OPENING[0], takes_fragments, *sent], config)
    assert [spop.read_frame(raw).ids[0] for raw in acks(played)] == [1]


TAKES_FRAGMENTS = Say(AGENT, spop.agent_hello(16380, b"pipelining,fragmentation"))
FRAGMENTS = [
    spop.frame(type_, (3, 1), part, flags)
    for type_, part, flags in (
        (spop.NOTIFY, spop.ONE_MESSAGE[:5], 0),
        (spop.UNSET, spop.ONE_MESSAGE[5:8], 0),
        (spop.UNSET, spop.ONE_MESSAGE[8:], spop.FIN),
    )
]


def test_a_notify_answered_before_its_last_fragment_is_answered_once():
    """Where its link was leaving, each fragment but the first behind the answer once made the guard answer it, too."""
    config = replace(CONFIG, unanswered=Unanswered.SET)
    asked, answered = Say(HAPROXY, NOTIFY + FRAGMENTS[0]), Say(AGENT, ack(3) + ITS_DISCONNECT)
    rest = [Say(HAPROXY, FRAGMENTS[1]), Say(HAPROXY, FRAGMENTS[2]), Say(AGENT, ACK)]
    played = alike([OPENING[0], TAKES_FRAGMENTS, asked, answered, *rest], config)
    assert [spop.read_frame(raw).ids[0] for raw in acks(played)] == [3, 1]


def test_a_leaving_link_ends_with_the_last_answer_found():
    """If that NOTIFY was arriving, the session once ended with it where the answer came in one read with the break alone."""
    config = replace(CONFIG, unanswered=Unanswered.SET)
    known = [Say(HAPROXY, NOTIFY), Say(AGENT, ACK)]
    found, rest = Say(AGENT, b"\xff" * 4 + ack(3) + b"\xff"), Say(HAPROXY, FRAGMENTS[1] + FRAGMENTS[2] + notify(5))
    played = alike([OPENING[0], TAKES_FRAGMENTS, *known, Say(HAPROXY, FRAGMENTS[0]), found, rest], config)
    assert [spop.read_frame(raw).ids[0] for raw in acks(played)] == [1, 3]


def test_the_last_answer_found_ends_its_link_whatever_arrives():
    """The session once waited for the last fragment, unless the answer came in one read with the break."""
    found = Say(AGENT, b"\xff" * 4 + ACK)
    played = alike([*OPENING, Say(HAPROXY, NOTIFY + FRAGMENTS[0]), found], replace(CONFIG, unanswered=Unanswered.SET))
    assert [spop.read_frame(raw).ids[0] for raw in acks(played)] == [1, 3]
    assert played.session.state is SessionState.CLOSING


def test_a_fragment_that_waits_when_all_ends_is_told_where_it_began():
    """Its place once was the end of the last read."""
    config = replace(CONFIG, policy=Policy({Anomaly.GARBLED_STREAM: Action.CLOSE}))
    begun = spop.frame(spop.ACK, (1, 1), spop.ALLOWED, flags=0)
    played = alike([*OPENING, Say(HAPROXY, NOTIFY), Say(AGENT, begun + b"\xff" * 30)], config)
    [offset] = [event.offset for event in played.events if getattr(event, "anomaly", None) is Anomaly.MISSING_FIN]
    assert offset == len(OPENING[1].data)


def test_the_first_ack_found_that_closes_is_the_last_told():
    config = replace(CONFIG, policy=Policy({Anomaly.INTERLEAVED_FRAMES: Action.CLOSE}))
    played = alike([*THREE_ASKED, Say(AGENT, b"\xff\xff\xff\xff" + ack(1) + ack(3))], config)
    assert anomalies(played).count(Anomaly.INTERLEAVED_FRAMES) == 1


def test_behind_an_unfinished_notify_a_deadline_is_left_to_haproxys_own():
    """HAProxy sends nothing between fragments; the checker, which drops the unfinished one first, called the other not told."""
    config = replace(CONFIG, unanswered=Unanswered.TELL, give_up_s=0.4, park_s=0.2)
    unfinished, whole = (
        spop.frame(spop.NOTIFY, (stream, 1), spop.ONE_MESSAGE, flags=flags) for stream, flags in ((5, 0), (7, spop.FIN))
    )
    for dial in Dial:
        played = Play(config, dial=dial).play([*OPENING, Leave(AGENT, reset=False), Say(HAPROXY, unfinished + whole)]).finish()
        assert broken_promises(played.transcript, terms_of(config)) == []
