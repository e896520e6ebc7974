"""Frames written in pieces: unambiguous pieces are joined across other frames; ambiguous ones are dropped, never guessed."""

import pytest

from spoe_guard.core.incoming.agent.effort import WORK_A_TURN, WORK_AT_ONCE, Effort
from spoe_guard.core.incoming.agent.pieces import MOST_WAITING, Pieces
from spoe_guard.wire import frame
from spoe_guard.wire.actions import MOST as MOST_ITEMS
from tests.core import frames
from tests.core.frames import ENDLESS, SET_VAR, UNSET_VAR, ack, agent_disconnect
from tests.pieces import feed_all

MOST = 300
TEXT = bytes((1, 3, 2)) + b"\x06reason\x08\x04late"
NOTHING = b"\x0aof-no-note" + b"\0"  # a list as long as SET_VAR
FALSE = SET_VAR[:-1] + b"\x01"

# One frame per letter; in a stream "A" is its length, "a" its header, "p" behind it its payload: "A a ap B b bp".
FRAMES = {
    "a": ack("1.1"),
    "b": ack("3.1"),  # as long as A, and of the same payload
    "c": ack("5.1"),
    "f": ack("7.1", payload=FALSE),  # as long as A, and of another payload
    "t": ack("9.1", payload=TEXT),
    "m": ack("17.1", payload=SET_VAR + UNSET_VAR),
    "x": ack("19.1", payload=TEXT),
    "u": ack("11.1", payload=UNSET_VAR),
    "w": ack("300.1"),  # the payload of A behind a longer header
    "e": ack("13.1", payload=b""),
    "g": ack("15.1", payload=b""),
    "h": ack("300.3", payload=b""),
    "d": agent_disconnect(),
    "y": frame.encode(frame.AGENT_DISCONNECT, 0, 0, NOTHING),
    "z": frame.encode(frame.AGENT_DISCONNECT, 0, 2, NOTHING),
    "k": agent_disconnect(99, b"an unknown error occurred"),
}


def cut(raw: bytes) -> tuple[bytes, bytes, bytes]:
    sent = frame.parse(raw)
    assert sent is not None
    return raw[:4], raw[4 : sent.payload_at], sent.payload


def stream(script: str) -> bytes:
    """Return the pieces that ``script`` names: "A" a length, "a" a header, "ap" a payload, "a:3" its first three bytes."""
    out = b""
    for name in script.split():
        length, head, payload = cut(FRAMES[name[0].lower()])
        piece = length if name[0].isupper() else head if len(name) == 1 else payload
        out += payload[: int(name[2:])] if ":" in name else piece
    return out


# name                                               stream                            found     lost
FOUND = [
    ("one frame",                                    "A a ap",                         "a",      ""),
    ("two, one behind the other",                    "A a ap B b bp",                  "ab",     ""),
    ("two pieces each: lengths first",               "A F a ap f fp",                  "af",     ""),
    ("two pieces each: swapped",                     "A F f fp a ap",                  "fa",     ""),
    ("two pieces each: three of them",               "A T F t tp f fp a ap",           "tfa",    ""),
    ("two pieces each: one begins like the other",   "A M m mp a ap",                  "ma",     ""),
    ("two pieces each: unlike lengths",              "A T t tp a ap",                  "ta",     ""),
    ("one inside the other",                         "A a T t tp ap",                  "ta",     ""),
    ("crossed, each length in front of its header",  "A a T t ap tp",                  "at",     ""),
    ("three, each inside the one before",            "A a T t U u up tp ap",           "uta",    ""),
    ("ids that fit one length only",                 "E W e w wp",                     "ew",     ""),
    ("criteo: one behind the other",                 "A a ap D d dp",                  "ad",     ""),
    ("criteo: DISCONNECT inside an ACK",             "A a D d dp ap",                  "da",     ""),
    ("criteo: an ACK inside DISCONNECT",             "D d A a ap dp",                  "ad",     ""),
    ("criteo: crossed, the ACK first",               "A a D d ap dp",                  "ad",     ""),
    ("criteo: crossed, DISCONNECT first",            "D d A a dp ap",                  "da",     ""),
    ("criteo: DISCONNECT before the ACK",            "D d dp A a ap",                  "da",     ""),
    ("criteo: an empty ACK inside DISCONNECT",       "D d E e dp",                     "ed",     ""),
    ("criteo: an empty ACK around DISCONNECT",       "E e D d dp",                     "ed",     ""),
    ("dropmore: its DISCONNECT among ACKs",             "A K a ap k kp",                  "ak",     ""),
    ("dropmore: its DISCONNECT between three pieces",   "A a K k kp ap",                  "ka",     ""),
    ("an ACK between two DISCONNECTs' payloads",        "D d K k dp A a ap kp",           "dak",    ""),
    ("empty ACKs alone",                             "E G g e",                        "ge",     ""),
    ("an empty ACK of ids of another size",          "A H h a ap",                     "ah",     ""),
    ("an empty ACK or one without its payload yet",  "E A a e ap",                     "",       "ae"),
    ("the same payload, headers apart",              "A B a b ap bp",                  "",       "ab"),
    ("another payload, headers apart",               "A F a f ap fp",                  "",       "af"),
    ("headers of unlike sizes, the same payload",    "A W a w ap wp",                  "",       "aw"),
    ("lengths that suit either header",              "A T a t ap tp",                  "",       "at"),
    ("the longer payload first",                     "A T a t tp ap",                  "",       "at"),
    ("what else comes until then",                   "A T a t tp D d dp K k ap kp",    "",       "atdk"),
    ("one in one piece, the payload the same",       "A a B b bp ap",                  "b",      "a"),
    ("one in one piece, another payload",            "A a F f fp ap",                  "",       "af"),
    ("two in one piece, all the same",               "A a B b bp C c cp ap",           "bc",     "a"),
    ("two in one piece, one of them other",          "A a B b bp F f fp ap",           "",       "abf"),
    ("one in one piece, two apart, all the same",    "A a C c B b bp ap cp",           "b",      "ac"),
    ("one in one piece, its length elsewhere",       "A B a b bp ap",                  "",       "ab"),
    ("one in one piece, then other lengths",         "A a B b bp T ap t tp",           "bt",     "a"),
    ("one in one piece, then a payload as long",     "A a B b bp W w wp ap",           "",       "abw"),
    ("a payload behind another one's header",        "A a B b T t ap bp tp",           "t",      "ab"),
    ("a header written twice is one",                "A a A a ap ap",                  "aa",     ""),
    ("one twice, once in one piece, and another",    "A a B b A a ap bp ap",           "a",      "ab"),
    ("a payload behind an empty ACK",                "A a B b bp H h ap",              "hb",     "a"),
    ("two that may be swapped, twice over",          "A a B b bp T t X x xp tp ap",    "",       "abtx"),
    ("the same, of another kind",                    "A a B b bp Y y Z z zp yp ap",    "",       "abyz"),
    ("the same again",                               "A a B b bp ap A a B b bp ap",    "bb",     "aa"),
    ("behind what was lost all is well again",       "A F a f ap fp A T t tp a ap",    "ta",     "af"),
    ("behind what was all the same, too",            "A a B b bp ap A a T t tp ap",    "bta",    "a"),
]  # fmt: skip


def put_together(*parts: bytes) -> tuple[list[bytes], int, bool, Pieces]:
    """Feed ``parts``; return the frames found, the bytes lost, whether all made sense."""
    pieces = Pieces(MOST)
    found: list[bytes] = []
    lost = taken = 0
    sane = True
    for part in parts:
        more, sane = feed_all(pieces, part)
        found += more
        lost += pieces.take_lost()
        taken += len(part)
        assert sum(map(len, found)) + lost + pieces.held == taken
        if not sane:
            break
    return found, lost, sane, pieces


def whole(data: bytes) -> tuple[bytes, ...]:
    return (data,)


def byte_by_byte(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[at : at + 1] for at in range(len(data)))


both_ways = pytest.mark.parametrize("split", [whole, byte_by_byte])


@both_ways
@pytest.mark.parametrize(("script", "found", "lost"), [c[1:] for c in FOUND], ids=[c[0] for c in FOUND])
def test_what_is_certain_is_found_and_the_rest_is_lost(script: str, found: str, lost: str, split) -> None:
    got, gone, sane, pieces = put_together(*split(stream(script)))
    assert got == [FRAMES[name] for name in found]
    assert gone == sum(len(FRAMES[name]) for name in lost)
    assert sane
    assert pieces.settled
    assert not pieces.held


@pytest.mark.parametrize(("script", "found", "lost"), [c[1:] for c in FOUND], ids=[c[0] for c in FOUND])
def test_the_same_where_each_turn_is_over_behind_one_piece(script: str, found: str, lost: str) -> None:
    effort = Effort()
    pieces = Pieces(MOST, effort)
    got: list[bytes] = []
    turns, data = 0, stream(script)
    while data or pieces.unread:
        effort.take_of_turn(WORK_A_TURN)
        more, sane = pieces.feed(data)
        data = b""
        assert sane
        assert pieces.paused or pieces.settled
        got += more
        turns += 1
    assert turns == len(script.split())
    assert got == [FRAMES[name] for name in found]
    assert pieces.take_lost() == sum(len(FRAMES[name]) for name in lost)
    assert pieces.settled


def test_a_piece_that_waits_for_bytes_waits_for_no_turn() -> None:
    effort = Effort()
    pieces = Pieces(MOST, effort)
    effort.take_of_turn(WORK_A_TURN)
    assert pieces.feed(stream("A")[:3]) == ([], True)
    assert (pieces.paused, pieces.unread) == (False, 3)


@both_ways
def test_a_stream_that_begins_twice_yields_every_whole_frame(split) -> None:
    """criteo/haproxy-spoe-go may send its buffer a second time; the second DISCONNECT never gets a payload."""
    got, gone, sane, pieces = put_together(*split(stream("A a D d ap A a D d ap dp")))
    assert got == [FRAMES[name] for name in "aad"]
    assert (gone, sane, pieces.held) == (0, True, len(stream("D d")))


# name                                     stream                                         what is given back as no piece
STRANGE = [
    ("garbage",                            b"\xff\xff\xff\xff",                           b"\xff\xff\xff\xff"),
    ("a payload of nobody",                SET_VAR,                                       SET_VAR),
    ("a header without a length",          stream("a"),                                   stream("a")),
    ("one header too many",                stream("A a") + stream("b"),                   stream("b")),
    ("a header longer than its frame",     frames.raw(b"")[:3] + b"\7" + stream("h"),     stream("h")),
    ("flags of no ACK",                    stream("A") + b"g\0\0\1",                      b"g\0\0\1"),
    ("ids that do not end",                stream("A") + b"g\0\0\0\1" + ENDLESS,          b"g\0\0\0\1" + ENDLESS),
    ("a length below the least",           b"\0\0\0\6",                                   b"\0\0\0\6"),
    ("a length above the most",            (MOST + 1).to_bytes(4, "big"),                 (MOST + 1).to_bytes(4, "big")),
    ("a payload of another size",          stream("A a") + UNSET_VAR + b"\0",             UNSET_VAR + b"\0"),
    ("a payload that is no list",          stream("A a") + b"\7",                         b"\7"),
    ("a long payload that turns bad",      stream("M m A a") + SET_VAR + b"\7",           SET_VAR + b"\7"),
    ("a payload that may end twice",       stream("A a M m") + SET_VAR + UNSET_VAR,       SET_VAR + UNSET_VAR),
]  # fmt: skip


@pytest.mark.parametrize(("data", "strange"), [c[1:] for c in STRANGE], ids=[c[0] for c in STRANGE])
def test_bytes_of_no_frame_are_returned_and_what_waits_is_lost(data: bytes, strange: bytes) -> None:
    found, lost, sane, pieces = put_together(data)
    assert (found, lost, sane) == ([], 0, False)
    assert pieces.release() == strange
    assert pieces.take_lost() == len(data) - len(strange)
    assert not pieces.held


@both_ways
def test_a_payload_is_given_as_soon_as_it_cannot_go_on(split) -> None:
    """A length begins with a zero, which would pass for a key without a name and its value."""
    found, *_ = put_together(*split(stream("D d K k dp A F")))
    assert found == [FRAMES["d"]]


@both_ways
def test_a_payload_waits_for_its_last_byte(split) -> None:
    for script in ("A a D d dp a:9", "D d A a ap d:5", "D d A a ap d:20", "A a T t t:12"):
        *_, sane, pieces = put_together(*split(stream(script)))
        assert sane, script
        assert not pieces.settled


def lengths(count: int) -> bytes:
    return count * stream("A")


def test_as_many_frames_may_wait_as_threads_write_and_no_more() -> None:
    *_, sane, pieces = put_together(lengths(MOST_WAITING))
    assert sane
    assert pieces.held == 4 * MOST_WAITING
    *_, sane, pieces = put_together(lengths(MOST_WAITING + 1))
    assert not sane
    assert pieces.release() == lengths(1)


def test_headers_that_wait_count_as_well() -> None:
    *_, sane, _ = put_together((MOST_WAITING - 1) * stream("A a") + lengths(1))
    assert sane
    *_, sane, _ = put_together(MOST_WAITING * stream("A a") + lengths(1))
    assert not sane


def test_one_that_is_no_longer_waiting_makes_room() -> None:
    found, _, sane, _ = put_together(lengths(MOST_WAITING) + stream("a ap") + lengths(1))
    assert (found, sane) == ([FRAMES["a"]], True)


def test_the_longest_frame_is_a_piece_and_no_longer_one() -> None:
    longest = frames.sized(103, MOST)
    found, _, sane, _ = put_together(stream("A") + longest + stream("a ap"))
    assert (found, sane) == ([longest, FRAMES["a"]], True)


def test_what_waits_is_held_until_it_is_released() -> None:
    script = "A a B b bp T t D d A"  # one of the two payloads of A and B, T and D with their headers, one length
    *_, pieces = put_together(stream(script))
    assert pieces.held == len(stream(script))
    assert pieces.release() == b""
    assert pieces.take_lost() == len(stream(script))
    assert pieces.held == 0


def test_beside_a_longer_header_with_its_ids_a_frame_completes_once() -> None:
    """Found by the fuzzer: the frame was completed twice."""
    length, head_c, payload = cut(ack("5.1"))
    _, head_a, _ = cut(ack("1.1"))
    _, head_b, _ = cut(ack("3.1"))
    longer = (200).to_bytes(4, "big")
    shuffled = length + length + head_a + head_b + payload + length + head_c + payload + longer + head_c + payload
    pieces = Pieces(MOST)
    found, _ = feed_all(pieces, shuffled + b"\0")
    assert found.count(ack("5.1")) <= 1


@pytest.mark.parametrize(("more", "sane"), [(0, True), (1, False)])
def test_pieces_that_ask_for_more_than_they_are_worth_make_no_sense(more: int, sane: bool) -> None:
    data = stream("A T t tp A a F")
    plenty, enough = Effort(), Effort()
    assert feed_all(Pieces(MOST, plenty), data)[1]
    enough.spend(plenty._left + more)
    assert enough.turn_over()
    pieces = Pieces(MOST, enough)
    assert feed_all(pieces, data) == ([FRAMES["t"]], sane)
    assert (pieces.release() == b"") is sane


@pytest.mark.parametrize("at_once", [20_000, 1 << 20])
@pytest.mark.parametrize(("more", "count"), [(0, 2), (1, 0)])
def test_a_payload_of_too_many_items_is_none(more: int, count: int, at_once: int) -> None:
    long = ack("1.1", payload=b"\2\2\2\0" * (MOST_ITEMS + more))
    pieces = Pieces(len(long))
    data = stream("D d") + long + stream("dp")
    found = []
    for at in range(0, len(data), at_once):
        found += feed_all(pieces, data[at : at + at_once])[0]
    assert len(found) == count


def test_a_long_payload_in_small_reads_costs_no_more_than_its_bytes() -> None:
    effort = Effort()
    pieces = Pieces(4000, effort)
    long = ack("1.1", payload=300 * UNSET_VAR)
    data = stream("D d") + long + stream("dp")
    found: list[bytes] = []
    for at in range(0, len(data), 16):
        more, sane = feed_all(pieces, data[at : at + 16])
        assert sane
        found += more
    assert found == [long, FRAMES["d"]]
    assert effort._left >= WORK_AT_ONCE


def test_bytes_that_came_before_are_not_behind_the_last_piece() -> None:
    """Two headers wait for either of two long payloads; in front of bytes that seem to go on, both turn out to be short."""
    data = bytes.fromhex(
        "00000018 00000008 0000000f 00000015 6700000001 0101 6700000001 f1f1fefe7e f1f1fefe7e 6700000001 ff2f01"
        "6700000001 f1f1fefe7e f1f1fefe7e 02020201 61 010302016108056162636465 0103020161110202020961616161 61"
    )
    pieces = Pieces(MOST)
    taken = 0
    for end in (1, 24, 38, 48, 61, 89, len(data)):
        found, sane = pieces.feed(data[taken:end])
        while sane and found and not pieces.settled:
            found, sane = pieces.feed(b"")
        assert not pieces.settled or pieces.held <= end - taken
        taken = end
