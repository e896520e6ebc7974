"""Frames that many threads write in pieces: the joined frames equal the written ones, whatever the order."""

import random

from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.core.incoming.agent.pieces import Pieces
from tests.pieces import feed_all
from tests.properties import spop

MOST = 400


def shuffled(draw, pieces):
    """Interleave lists, each in its own order."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    left = [list(each) for each in pieces]
    out = []
    while any(left):
        one = rng.choice([each for each in left if each])
        out.append(one.pop(0))
    return b"".join(out), rng


def cut(raw, ids_end, in_three):
    return [raw[:4], raw[4:ids_end], raw[ids_end:]] if in_three else [raw[:4], raw[4:]]


@st.composite
def frames(draw):
    """ACKs of distinct streams whose payloads are often of one length and not always the same."""
    count = draw(st.integers(1, 6))
    out = []
    for at in range(count):
        name = draw(st.sampled_from([b"a", b"b", b"cc"]))
        actions = draw(st.integers(1, 2))
        payload = b"".join(
            b"\1\3\2" + bytes((len(name),)) + name + draw(st.sampled_from([b"\x11", b"\x01"])) for _ in range(actions)
        )
        ids = spop.integer(draw(st.sampled_from([1, 300])) + 2 * at) + b"\1"
        body = b"g\0\0\0\1" + ids + payload
        out.append((len(body).to_bytes(4, "big") + body, 9 + len(ids)))
    return out


@given(st.data(), frames())
def test_frames_in_two_pieces_all_come_out(data, written):
    stream, rng = shuffled(data.draw, [cut(raw, ids_end, in_three=False) for raw, ids_end in written])
    found, settled = put_together(stream, rng)
    assert sorted(found) == sorted(raw for raw, _ in written)
    assert settled


@given(st.data(), frames())
def test_frames_in_three_pieces_are_never_given_another_ones_payload(data, written):
    stream, rng = shuffled(data.draw, [cut(raw, ids_end, in_three=True) for raw, ids_end in written])
    found, _ = put_together(stream, rng)
    assert len(set(found)) == len(found)
    assert set(found) <= {raw for raw, _ in written}


def other_ways(raw, ids_end):
    """The ways agents are known to write a frame, and in one piece."""
    ways = ([raw[:4], raw[4:]], [raw[:4], raw[4:ids_end], raw[ids_end:]], [raw[:ids_end], raw[ids_end:]], [raw])
    return [[piece for piece in way if piece] for way in ways]


def disconnect(message):
    body = b"f\0\0\0\1\0\0" + b"\x0bstatus-code\x03\x00\x07message\x08" + bytes((len(message),)) + message
    return len(body).to_bytes(4, "big") + body, 11


EMPTY = [(b"\0\0\0\7g\0\0\0\1" + ids, 11) for ids in (b"\x51\1", b"\x53\1")]


@given(
    st.data(),
    frames(),
    st.lists(st.sampled_from([*EMPTY, disconnect(b"normal"), disconnect(b"an error")]), max_size=3, unique=True),
)
def test_in_any_segmentation_only_the_written_frames_come_out(data, written, more):
    written += more
    stream, rng = shuffled(data.draw, [data.draw(st.sampled_from(other_ways(*one))) for one in written])
    found, _ = put_together(stream, rng)
    assert len(set(found)) == len(found)
    assert set(found) <= {raw for raw, _ in written}
    assert found == put_together(stream, random.Random(0))[0]


def put_together(stream, rng):
    pieces = Pieces(MOST)
    found, at, lost = [], 0, 0
    while at < len(stream):
        end = min(len(stream), at + rng.choice([1, 3, 24, 200]))
        more, sane = feed_all(pieces, stream[at:end])
        found += more
        lost += pieces.take_lost()
        at = end
        assert sum(map(len, found)) + lost + pieces.held == at
        if not sane:
            break
    settled = pieces.settled
    rest = pieces.release()
    assert sum(map(len, found)) + lost + pieces.take_lost() + len(rest) == at
    return found, settled
