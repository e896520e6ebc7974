"""NOTIFYs in fragments, as HAProxy up to 3.0 sends them: an agent that takes them gets them, for others they are joined."""

import pytest

from spoe_guard.core.conversation.ledger import LOSS_MATTERS_S
from spoe_guard.core.incoming.fragmented import MOST_FRAGMENTS
from spoe_guard.core.incoming.haproxy.fragments import SHORTEST
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import Unanswered
from tests.core import frames
from tests.core.frames import ABRT, FIN, MESSAGE, agent_hello, haproxy_hello, notify, unset
from tests.core.script import play, running

pytestmark = pytest.mark.usefixtures("all_speeds")

# What HAProxy up to 3.0 offers, with and without `option async`; it never offers fragmentation.
OFFERS = {"applet": b"pipelining,async", "no async": b"pipelining", "neither": b""}
TAKES = {
    "hello": haproxy_hello(capabilities=b"pipelining,async"),
    "answer": agent_hello(capabilities=b"pipelining,fragmentation"),
}
SMALL = {"answer": agent_hello(max_frame_size=1000)}
SET = {"unanswered": Unanswered.SET, "error_name": b"error"}
TOLD = "answer notify_unanswered, unanswered {} 1, to_haproxy ACK 1.1"
LEFT = "pass notify_unanswered, unanswered {} 1"

WHOLE = notify(payload=MESSAGE * 2)
FIRST = notify(payload=MESSAGE[:5], flags=0)
MORE = unset(payload=MESSAGE[5:] + MESSAGE[:3], flags=0)
LAST = unset(payload=MESSAGE[3:])
PARTS = {"first": FIRST, "more": MORE, "last": LAST, "abort": unset(flags=FIN | ABRT), "none": unset(flags=0)}


def sized(length: int, *, at: str = "1.1") -> tuple[bytes, bytes]:
    """Return the two fragments of a NOTIFY that is, whole, ``length`` bytes behind the prefix."""
    payload = frames.sized(3, length, at)[11:]
    return notify(at, payload[:600], 0), unset(at, payload[600:])


# --- an agent that does not take them ----------------------------------------


@pytest.mark.parametrize("capabilities", OFFERS.values(), ids=OFFERS)
def test_fragments_are_put_together_for_an_agent_that_takes_none(capabilities: bytes) -> None:
    answer = agent_hello(capabilities=b"pipelining" if capabilities else b"")
    talk = running(hello=haproxy_hello(capabilities=capabilities), answer=answer)
    handshake = len(talk.written["to_agent"])
    talk.play(
        """
        haproxy <first> -> held
        haproxy <more>  -> held
        haproxy <none>  -> held
        haproxy <last>  -> to_agent NOTIFY 1.1
        agent   ACK 1.1 -> ok
        """,
        **PARTS,
    )
    assert talk.written["to_agent"][handshake:] == WHOLE
    assert not talk.anomalies
    assert talk.session.held == 0


@pytest.mark.parametrize("at", range(len(MESSAGE) + 1))
def test_a_notify_is_put_together_wherever_it_was_cut(at: int) -> None:
    sent = notify(payload=MESSAGE[:at], flags=0) + unset(payload=MESSAGE[at:])
    for pieces in ([sent], [sent[index : index + 1] for index in range(len(sent))]):
        talk = running()
        handshake = len(talk.written["to_agent"])
        for number, piece in enumerate(pieces):
            talk.play(f"haproxy <piece> -> {'to_agent NOTIFY 1.1' if number == len(pieces) - 1 else 'held'}", piece=piece)
        assert talk.written["to_agent"][handshake:] == notify()


def test_together_they_have_the_agents_size_and_not_a_byte_more() -> None:
    fits, fill = sized(1000)
    long, rest = sized(1001, at="3.1")
    talk = running(**SMALL, **SET).play(
        """
        haproxy <fits> + <fill> -> to_agent NOTIFY 1.1
        haproxy <long> -> held
        haproxy <rest> -> drop notify_oversize, answer notify_unanswered, unanswered notify_dropped 1, to_haproxy ACK 3.1
        haproxy NOTIFY 5.1 -> ok
        agent   ACK 5.1 + ACK 1.1 -> ok
        """,
        fits=fits,
        fill=fill,
        long=long,
        rest=rest,
    )
    assert talk.session.held == 0


def test_haproxy_is_told_of_one_too_long_only_at_its_last_fragment() -> None:
    long, rest = sized(1001)
    talk = running(**SMALL, **SET).play(
        """
        haproxy <long> + <more>   -> drop notify_oversize
        haproxy <none>            -> nothing
        guard   waits 5           -> nothing
        haproxy <none> + <rest>   -> answer notify_unanswered, unanswered notify_dropped 1, to_haproxy ACK 1.1
        """,
        long=long,
        rest=rest,
        none=unset(payload=bytes(SHORTEST), flags=0),
        more=unset(payload=bytes(600), flags=0),
    )
    assert talk.session.open_notifies == 0


def test_of_one_too_long_only_the_last_fragment_may_be_short() -> None:
    long, _ = sized(1001)
    running(**SMALL, **SET).play(
        f"""
        haproxy <long> + <more> -> drop notify_oversize
        haproxy <short>         -> drop fragment_refused
        haproxy <last>          -> {TOLD.format("notify_dropped")}
        """,
        long=long,
        more=unset(payload=bytes(600), flags=0),
        short=unset(payload=bytes(SHORTEST - 1), flags=0),
        last=unset(payload=bytes(SHORTEST - 1)),
    )


def test_fragments_without_end_are_a_flood() -> None:
    """They cost time for each byte that they carry, and one NOTIFY may have any number of them."""
    none = unset(flags=0)
    talk = running(glitches=10).play("haproxy <many> -> drop notify_oversize", many=FIRST + none * MOST_FRAGMENTS)
    for _ in range(10):
        talk.play("haproxy <none> -> drop fragment_refused", none=none)
    talk.play(
        f"""
        haproxy <none> -> drop fragment_refused, close glitch_flood, {LEFT.format("agent_gone")}, \
                          to_agent HAPROXY_DISCONNECT 4, to_haproxy AGENT_DISCONNECT 4
        """,
        none=none,
    )


def test_a_first_fragment_too_long_for_the_agent_ends_it() -> None:
    running(**SMALL, **SET).play(
        f"haproxy <long> -> drop notify_oversize\nhaproxy <last> -> {TOLD.format('notify_dropped')}",
        long=notify(payload=bytes(994), flags=0),
        last=LAST,
    )


def test_no_more_is_held_than_held_bytes_however_small_the_fragments() -> None:
    most = unset(payload=bytes(8000), flags=0)
    most += unset(payload=bytes(16384 - len(FIRST) - len(most) - len(unset())), flags=0)
    talk = running(held_bytes=16384, max_frame_size=16380, **SET)
    talk.play("haproxy <first> + <most> -> held", most=most, **PARTS)
    assert talk.session.held == 16384
    talk.play("haproxy <none> -> drop notify_oversize")
    assert talk.session.held == 0
    talk.play(f"haproxy <last> -> {TOLD.format('notify_dropped')}")


def test_a_notify_has_as_many_fragments_as_may_be_and_no_more() -> None:
    many = unset(flags=0) * (MOST_FRAGMENTS - 3)
    running(**SET).play("haproxy <first> + <many> + <more> + <last> -> to_agent NOTIFY 1.1", many=many, **PARTS)
    talk = running(**SET).play("haproxy <first> + <many> + <more> + <none> -> held", many=many, **PARTS)
    talk.play(f"haproxy <none> -> drop notify_oversize\nhaproxy <last> -> {TOLD.format('notify_dropped')}")
    assert talk.session.held == 0


def test_a_policy_may_end_the_session_over_one_too_long() -> None:
    long, rest = sized(1001)
    running({Anomaly.NOTIFY_OVERSIZE: Action.CLOSE}, **SMALL).play(
        f"""
        haproxy <long> -> held
        haproxy <rest> -> close notify_oversize, {LEFT.format("agent_gone")}, to_agent HAPROXY_DISCONNECT 4, \
                to_haproxy AGENT_DISCONNECT 4
        haproxy <none> -> nothing
        """,
        long=long,
        rest=rest,
        none=unset(flags=0),
    )


@pytest.mark.parametrize(
    ("unanswered", "comes"),
    [
        (Unanswered.TELL, "answer notify_unanswered, unanswered notify_dropped 1, to_agent HAPROXY_DISCONNECT 0, \
to_haproxy AGENT_DISCONNECT 13"),
        (Unanswered.EMPTY_ACK, TOLD.format("notify_dropped")),
        (Unanswered.LEAVE, LEFT.format("notify_dropped")),
    ],
)  # fmt: skip
def test_one_too_long_is_answered_as_unanswered_says(unanswered: Unanswered, comes: str) -> None:
    long, rest = sized(1001)
    running(**SMALL, unanswered=unanswered).play(f"haproxy <long> -> held\nhaproxy <rest> -> drop notify_oversize, {comes}",
        long=long, rest=rest)  # fmt: skip


def test_what_was_put_together_is_judged_like_any_other() -> None:
    play(
        f"""
        haproxy <first> + <odd>  -> drop notify_malformed, {LEFT.format("notify_dropped")}
        haproxy <first> + <end>  -> drop bad_varint, {LEFT.format("notify_dropped")}
        haproxy <empty> + <last> -> answer notify_empty, to_haproxy ACK 3.1
        """,
        named={
            **PARTS,
            "odd": unset(payload=b"\x01"),
            "end": unset(payload=frames.ENDLESS),
            "empty": notify("3.1", b"", 0),
            "last": unset("3.1"),
        },
    )


def test_reserved_flags_of_fragments_are_none_of_the_whole() -> None:
    talk = running()
    handshake = len(talk.written["to_agent"])
    talk.play(
        "haproxy <a> + <b> -> to_agent NOTIFY 1.1", a=notify(payload=b"", flags=0x100), b=unset(payload=MESSAGE, flags=0x101)
    )
    assert talk.written["to_agent"][handshake:] == notify()


def test_a_notify_put_together_waits_for_a_link_like_any_other() -> None:
    running(give_up_s=5.0).play(
        """
        agent   rst             -> answer disconnect_missing, lost reset 0/0, close agent
        haproxy <first> + <more> -> held
        haproxy <last>          -> nothing
        guard waits 0.1         -> dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 1.1
        agent1  ACK 1.1         -> ok
        """,
        **PARTS,
    )


def test_without_an_agent_one_too_long_for_haproxys_size_is_dropped() -> None:
    long, rest = sized(1001)
    running(give_up_s=5.0, **SMALL, **SET).play(
        f"""
        agent   rst             -> answer disconnect_missing, lost reset 0/0, close agent
        haproxy <long>          -> held
        haproxy <rest>          -> drop notify_oversize, {TOLD.format("notify_dropped")}
        """,
        long=long,
        rest=rest,
    )


def test_its_deadline_counts_from_the_first_fragment() -> None:
    running(answer_deadline_s=1.0, **SET).play(
        f"""
        haproxy <first>  -> held
        guard waits 0.6  -> nothing
        haproxy <more> + <last> -> to_agent NOTIFY 1.1
        guard waits 0.39 -> nothing
        guard waits 0.01 -> {TOLD.format("deadline")}
        agent ACK 1.1    -> drop late_ack
        """,
        **PARTS,
    )


@pytest.mark.parametrize("deadline_s", [1.0, None])
def test_one_whose_end_never_comes_is_given_up(deadline_s: float | None) -> None:
    longest = deadline_s or LOSS_MATTERS_S
    talk = running(answer_deadline_s=deadline_s, **SET).play(
        f"""
        haproxy <first>             -> held
        guard waits {longest - 0.1} -> nothing
        guard waits 0.1             -> {TOLD.format("deadline")}
        haproxy <next> + <abort>    -> nothing
        haproxy NOTIFY 3.1          -> ok
        agent   ACK 3.1             -> ok
        """,
        next=unset(payload=bytes(SHORTEST), flags=0),
        **PARTS,
    )
    assert talk.session.held == 0


def test_one_too_long_has_a_deadline_too() -> None:
    long, rest = sized(1001)
    running(answer_deadline_s=1.0, **SMALL, **SET).play(
        f"""
        haproxy <long> + <fill>  -> drop notify_oversize
        guard waits 1            -> {TOLD.format("deadline")}
        haproxy <rest>           -> nothing
        """,
        long=long,
        fill=unset(payload=bytes(600), flags=0),
        rest=rest,
    )


@pytest.mark.parametrize("before", ["<first>", "<first> + <more>", "<first> + <fill>"])
def test_a_notify_that_haproxy_gives_up_ends_quietly(before: str) -> None:
    oversize = "drop notify_oversize" if "fill" in before else "held"
    talk = running(**SMALL, **SET).play(
        f"""
        haproxy {before}   -> {oversize}
        haproxy <abort>    -> unanswered haproxy_gone 1
        haproxy <abort>    -> drop fragment_refused
        haproxy NOTIFY 3.1 -> ok
        """,
        fill=unset(payload=bytes(1000), flags=0),
        **PARTS,
    )
    assert talk.session.held == 0


def test_a_first_fragment_that_aborts_is_no_notify() -> None:
    play("haproxy <odd> -> unanswered haproxy_gone 1\nhaproxy NOTIFY 1.1 -> ok", named={"odd": notify(flags=ABRT)})


def test_fragments_of_a_notify_that_is_open_are_a_duplicate() -> None:
    play(
        """
        haproxy NOTIFY 1.1               -> ok
        haproxy <first> + <more> + <last> -> pass notify_duplicate, to_agent NOTIFY 1.1
        haproxy <first> + <abort>        -> nothing
        haproxy <first> + <other>        -> held, drop fragment_refused
        agent   ACK 1.1                  -> ok
        haproxy <last>                   -> drop bad_varint, pass notify_unanswered, unanswered notify_dropped 1
        """,
        named={**PARTS, "other": notify(payload=MESSAGE[:6], flags=0)},
    )


# --- what HAProxy never sends ----------------------------------------


def test_what_continues_no_notify_is_refused() -> None:
    play(
        """
        haproxy <last>    -> drop fragment_refused
        haproxy <first>   -> held
        haproxy <other>   -> drop fragment_refused
        haproxy <more> + <last> -> to_agent NOTIFY 1.1
        haproxy <last>    -> drop fragment_refused
        """,
        named={**PARTS, "other": unset("3.1")},
    )


def test_the_first_fragment_of_another_settles_the_one_before() -> None:
    running(**SET).play(
        f"""
        haproxy <first>   -> held
        haproxy <other>   -> drop fragment_refused, {TOLD.format("notify_dropped")}
        haproxy <last>    -> drop fragment_refused
        haproxy <rest>    -> to_agent NOTIFY 3.1
        """,
        **PARTS,
        other=notify("3.1", MESSAGE[:5], 0),
        rest=unset("3.1", MESSAGE[5:]),
    )


@pytest.mark.parametrize("before", ["", "haproxy <first> -> held\n"], ids=["continues nothing", "between others"])
def test_a_policy_may_end_the_session_over_a_fragment(before: str) -> None:
    odd = notify("3.1", MESSAGE[:5], 0) if before else LAST
    unanswered = f", {LEFT.format('agent_gone')}" if before else ""
    running({Anomaly.FRAGMENT_REFUSED: Action.CLOSE}).play(
        f"""{before}
        haproxy <odd> -> close fragment_refused{unanswered}, to_agent HAPROXY_DISCONNECT 4, to_haproxy AGENT_DISCONNECT 4
        """,
        odd=odd,
        **PARTS,
    )


def test_whole_frames_may_stand_between_fragments() -> None:
    play(
        """
        haproxy <first>          -> held
        haproxy NOTIFY 3.1       -> ok
        haproxy <more> + <last>  -> to_agent NOTIFY 1.1
        agent   ACK 1.1 + ACK 3.1 -> ok
        """,
        named=PARTS,
    )


# --- how they end ----------------------------------------


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_haproxys_end_drops_what_is_kept(how: str) -> None:
    talk = running().play(
        f"haproxy <first> -> held\nhaproxy {how} -> unanswered haproxy_gone 1, to_agent HAPROXY_DISCONNECT 0, close haproxy",
        **PARTS,
    )
    assert talk.session.held == 0


def test_the_sessions_end_drops_what_is_kept() -> None:
    talk = running(**SET).play(
        """
        haproxy <first>               -> held
        haproxy HAPROXY_DISCONNECT 0  -> unanswered haproxy_gone 1, ok, to_haproxy AGENT_DISCONNECT 0, close haproxy
        """,
        **PARTS,
    )
    assert talk.session.held == 0


def test_an_agent_that_leaves_its_session_gets_no_more_of_it() -> None:
    talk = running(**SET).play(
        f"""
        haproxy NOTIFY 3.1          -> ok
        haproxy <first>             -> held
        agent   AGENT_DISCONNECT 0  -> held, reorder disconnect_before_ack
        haproxy <odd> + <more>      -> nothing
        haproxy <last>              -> {TOLD.format("agent_gone")}
        haproxy <last>              -> nothing
        haproxy <again>             -> nothing
        haproxy <again>             -> {TOLD.format("agent_gone").replace("1.1", "7.1")}
        haproxy <end>               -> {TOLD.format("agent_gone").replace("1.1", "7.1")}
        agent   ACK 3.1             -> reorder ack_after_disconnect, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 3.1, \
                to_haproxy AGENT_DISCONNECT 0
        """,
        odd=unset("5.1"),
        again=notify("7.1", flags=0),
        end=unset("7.1"),
        **PARTS,
    )
    assert talk.session.open_notifies == 0


def test_a_drain_waits_for_the_fragments_that_are_still_to_come() -> None:
    running(give_up_s=5.0).play(
        """
        haproxy <first>    -> held
        guard   drains     -> nothing
        guard   waits 0.1  -> nothing
        haproxy <more> + <last> -> to_agent NOTIFY 1.1
        agent   ACK 1.1    -> to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 0
        """,
        **PARTS,
    )


@pytest.mark.parametrize("config", [{}, {**TAKES}, {**SMALL}], ids=["kept", "passed on", "dropped"])
def test_a_session_is_not_handed_over_within_a_notify(config: dict[str, bytes]) -> None:
    talk = running(give_up_s=5.0, **config)
    assert talk.session.to_hand_over() is not None
    talk.session.receive(Side.HAPROXY, FIRST + unset(payload=bytes(1000), flags=0), talk.now)
    assert talk.session.to_hand_over() is None
    talk.session.receive(Side.HAPROXY, PARTS["abort"], talk.now)
    assert talk.session.to_hand_over() is not None


def test_nor_while_fragments_of_a_notify_that_was_given_up_may_come() -> None:
    talk = running(give_up_s=5.0, answer_deadline_s=1.0, **SET).play(
        f"haproxy <first> -> held\nguard waits 1 -> {TOLD.format('deadline')}", **PARTS
    )
    assert talk.session.to_hand_over() is None
    assert talk.play("haproxy <abort> -> nothing").session.to_hand_over() is not None


@pytest.mark.parametrize("config", [{}, {**TAKES}, {**SMALL}], ids=["kept", "passed on", "dropped"])
@pytest.mark.parametrize("end", ["abort", "last"])
def test_the_route_knows_that_a_notify_is_arriving_until_its_last_fragment(config: dict[str, bytes], end: str) -> None:
    talk = running(**config)
    assert not talk.tally.any_waiting()
    talk.session.receive(Side.HAPROXY, FIRST + unset(payload=bytes(1000), flags=0), talk.now)
    assert talk.tally.arriving_notifies == 1
    assert talk.tally.any_waiting()
    talk.session.receive(Side.HAPROXY, PARTS[end], talk.now)
    assert talk.tally.arriving_notifies == 0


def test_fragments_go_on_as_they_came_when_the_session_is_released() -> None:
    talk = running().play("haproxy <first> + <more> + NOTIFY 3.1[:5] -> held", **PARTS)
    assert talk.session.oldest_since == talk.now
    assert talk.session.release() == (FIRST + MORE + notify("3.1")[:5], b"")
    assert talk.tally.held_bytes == 0


# --- an agent that takes them ----------------------------------------


@pytest.mark.parametrize("capabilities", OFFERS.values(), ids=OFFERS)
def test_fragments_pass_as_they_are_to_an_agent_that_takes_them(capabilities: bytes) -> None:
    running(hello=haproxy_hello(capabilities=capabilities), answer=agent_hello(capabilities=b"fragmentation")).play(
        """
        haproxy <first>  -> ok
        haproxy <more>   -> ok
        haproxy <last>   -> ok
        agent   ACK 1.1  -> ok
        """,
        **PARTS,
    )


def test_the_agent_is_offered_fragments_where_the_route_says_so() -> None:
    talk = running(always_offer=frozenset(("fragmentation",)), **TAKES).play(
        "haproxy <first> -> ok\nhaproxy <last> -> ok\nagent ACK 1.1 -> ok", first=FIRST, last=unset(payload=MESSAGE[5:])
    )
    assert b"pipelining,fragmentation" in talk.written["to_agent"]
    assert not talk.anomalies


def test_an_agent_learns_that_haproxy_gave_a_notify_up() -> None:
    running(**TAKES, in_flight=1, give_up_s=5.0).play(
        """
        haproxy <first>    -> ok
        haproxy <abort>    -> unanswered haproxy_gone 1, ok
        haproxy NOTIFY 3.1 -> ok
        agent   ACK 1.1    -> drop late_ack
        agent   ACK 3.1    -> ok
        """,
        **PARTS,
    )


def test_a_fragment_too_long_for_the_agent_ends_them_there() -> None:
    takes = {**TAKES, "answer": agent_hello(capabilities=b"fragmentation", max_frame_size=1000)}
    talk = running(**takes, **SET).play(
        f"""
        haproxy <fits> -> ok
        haproxy <more> -> drop notify_oversize, to_agent UNSET 1.1
        haproxy <last> -> {TOLD.format("notify_dropped")}
        """,
        fits=notify(payload=b"x" * 993, flags=0),
        more=unset(payload=b"x" * 994, flags=0),
        last=LAST,
    )
    assert talk.written["to_agent"].endswith(unset(flags=FIN | ABRT))


def test_the_first_fragment_of_another_ends_the_one_the_agent_has() -> None:
    talk = running(**TAKES, **SET).play(
        """
        haproxy <first>  -> ok
        haproxy <other>  -> drop fragment_refused, answer notify_unanswered, unanswered notify_dropped 1, to_agent UNSET 1.1, \
                to_agent NOTIFY 3.1, to_haproxy ACK 1.1
        haproxy <rest>   -> ok
        agent   ACK 3.1  -> ok
        """,
        other=notify("3.1", MESSAGE[:5], 0),
        rest=unset("3.1", MESSAGE[5:]),
        **PARTS,
    )
    assert unset(flags=FIN | ABRT) in talk.written["to_agent"]


@pytest.mark.parametrize("end", ["<last>", "<abort>"])
def test_haproxy_learns_that_the_agent_is_lost_at_the_last_fragment(end: str) -> None:
    told = TOLD.format("agent_gone") if end == "<last>" else "unanswered haproxy_gone 1"
    running(**TAKES, **SET, give_up_s=5.0).play(
        f"""
        haproxy <first> -> ok
        agent   rst     -> answer disconnect_missing, lost reset 1/0, close agent
        haproxy <more>  -> nothing
        haproxy {end}   -> {told}
        """,
        **PARTS,
    )


def test_haproxy_learns_of_the_other_notifies_of_a_lost_agent_at_once() -> None:
    running(**TAKES, **SET, give_up_s=5.0).play(
        f"""
        haproxy NOTIFY 3.1 -> ok
        haproxy <first>    -> ok
        agent   rst        -> answer disconnect_missing, answer notify_unanswered, unanswered agent_gone 1, lost reset 2/0, \
                to_haproxy ACK 3.1, close agent
        haproxy <last>     -> {TOLD.format("agent_gone")}
        """,
        **PARTS,
    )


def test_fragments_do_not_follow_an_agent_that_disconnected() -> None:
    running(**TAKES, **SET, give_up_s=5.0).play(
        f"""
        haproxy <first>            -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        haproxy <more>             -> lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0
        haproxy <last>             -> {TOLD.format("agent_gone")}
        """,
        **PARTS,
    )


def test_an_agent_that_takes_fragments_has_its_deadline_from_the_first() -> None:
    running(**TAKES, **SET, answer_deadline_s=1.0).play(
        f"""
        haproxy <first>  -> ok
        guard waits 0.9  -> nothing
        guard waits 0.1  -> {TOLD.format("deadline")}
        haproxy <more>   -> ok
        haproxy <abort>  -> ok
        haproxy <abort>  -> drop fragment_refused
        """,
        **PARTS,
    )


def test_without_a_deadline_half_a_notify_is_given_up_with_its_agent() -> None:
    running(**TAKES, **SET).play(
        f"haproxy <first> -> ok\nguard waits {LOSS_MATTERS_S} -> {TOLD.format('deadline')}\nhaproxy <last> -> ok", **PARTS
    )


def test_an_agent_may_answer_before_the_last_fragment() -> None:
    running(**TAKES).play(
        "haproxy <first> -> ok\nagent ACK 1.1 -> ok\nhaproxy <more> + <last> -> ok\nhaproxy NOTIFY 3.1 -> ok", **PARTS
    )


def test_one_that_was_answered_early_is_not_answered_again() -> None:
    """However many fragments still come when the agent has said that it leaves."""
    running(**TAKES, **SET).play(
        """
        haproxy NOTIFY 3.1 + <first> -> ok
        agent   ACK 1.1              -> ok
        agent   AGENT_DISCONNECT 0   -> held, reorder disconnect_before_ack
        haproxy <more>               -> nothing
        haproxy <more>               -> nothing
        haproxy <last>               -> nothing
        agent   ACK 3.1              -> reorder ack_after_disconnect, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 3.1, \
                to_haproxy AGENT_DISCONNECT 0
        """,
        **PARTS,
    )


def test_fragments_of_an_open_notify_say_nothing_while_the_agent_leaves() -> None:
    running(**TAKES, **SET).play(
        """
        haproxy NOTIFY 1.1           -> ok
        agent   AGENT_DISCONNECT 0   -> held, reorder disconnect_before_ack
        haproxy <first>              -> nothing
        haproxy <last>               -> nothing
        agent   ACK 1.1              -> reorder ack_after_disconnect, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, \
                to_haproxy AGENT_DISCONNECT 0
        """,
        **PARTS,
    )


def test_a_drain_does_not_wait_for_the_rest_of_what_was_answered() -> None:
    running(**TAKES).play(
        """
        haproxy NOTIFY 3.1 + <first> -> ok
        agent   ACK 1.1              -> ok
        guard   drains               -> nothing
        agent   ACK 3.1              -> to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 3.1, to_haproxy AGENT_DISCONNECT 0
        """,
        **PARTS,
    )


def test_a_notify_in_fragments_supersedes_the_one_before() -> None:
    running(hello=haproxy_hello(capabilities=b""), answer=agent_hello(capabilities=b"fragmentation")).play(
        f"""
        haproxy NOTIFY 3.1 -> ok
        guard waits 0.1    -> nothing
        haproxy <first>    -> {LEFT.format("superseded")}, ok
        haproxy <last>     -> ok
        agent ACK 1.1      -> ok
        """,
        **PARTS,
    )


def test_only_what_came_before_its_first_fragment_is_superseded() -> None:
    running(hello=haproxy_hello(capabilities=b""), answer=agent_hello(capabilities=b"")).play(
        f"""
        haproxy NOTIFY 3.1 -> ok
        guard waits 0.1    -> nothing
        haproxy <first>    -> held
        haproxy NOTIFY 5.1 -> {LEFT.format("superseded")}, ok
        guard waits 0.1    -> nothing
        haproxy <more> + <last> -> to_agent NOTIFY 1.1
        agent ACK 5.1 + ACK 1.1 -> ok
        """,
        **PARTS,
    )


def test_the_oldest_gives_way_to_a_notify_in_fragments() -> None:
    running(**TAKES, **SET, open_notifies=1).play(
        """
        haproxy NOTIFY 3.1 -> ok
        haproxy <first>    -> answer notify_unanswered, unanswered limit 1, ok, to_haproxy ACK 3.1
        haproxy NOTIFY 5.1 -> ok
        haproxy <last>     -> answer notify_unanswered, unanswered limit 1, ok, to_haproxy ACK 1.1
        """,
        **PARTS,
    )


def test_fragments_are_never_torn_over_two_links() -> None:
    several = {"give_up_s": 5.0, "max_links": 2, "in_flight": 1}
    running(**TAKES, **several).play(
        """
        haproxy <first>         -> ok
        haproxy NOTIFY 3.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  <hello>         -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        haproxy <last>          -> ok
        agent1  ACK 3.1         -> ok
        haproxy <other>         -> to_agent1 NOTIFY 5.1
        agent   ACK 1.1         -> ok
        haproxy <rest>          -> to_agent1 UNSET 5.1
        """,
        hello=TAKES["answer"],
        other=notify("5.1", MESSAGE[:5], 0),
        rest=unset("5.1", MESSAGE[5:]),
        **PARTS,
    )


def test_fragments_are_kept_while_every_link_is_busy() -> None:
    running(**TAKES, in_flight=1, give_up_s=5.0).play(
        """
        haproxy NOTIFY 3.1               -> ok
        haproxy <first> + <more> + <last> -> nothing
        agent   ACK 3.1                  -> redispatched unsent 1, to_agent NOTIFY 1.1, ok
        agent   ACK 1.1                  -> ok
        """,
        **PARTS,
    )


def test_the_link_that_takes_fragments_gets_them() -> None:
    running(hello=TAKES["hello"], give_up_s=5.0, max_links=2, in_flight=1).play(
        """
        haproxy NOTIFY 3.1 + NOTIFY 5.1 -> held, to_agent NOTIFY 3.1, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  <hello>         -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 5.1
        agent1  ACK 5.1         -> ok
        agent   ACK 3.1         -> ok
        haproxy NOTIFY 7.1      -> ok
        haproxy <first>         -> to_agent1 NOTIFY 1.1
        haproxy <last>          -> to_agent1 UNSET 1.1
        """,
        hello=TAKES["answer"],
        **PARTS,
    )
