"""Generates what a peer may write: well-formed frames, and every kind of malformed one."""

from typing import TypeVar

from hypothesis import strategies as st

from tests.properties import spop

T = TypeVar("T")

IDS = st.sampled_from([
    (1, 1), (3, 1), (5, 1), (1, 2), (1007, 240), (2**32 + 1, 1), (2**64 - 1, 2**64 - 1), (0, 0),
    (0, 1), (2**31 - 1, 1), (2**31, 1), (2**32 + 2**31, 1),
])  # fmt: skip
KNOWN = st.sampled_from([(1, 1), (3, 1), (5, 1), (1007, 240)])


def weighted(*choices: tuple[int, st.SearchStrategy[T]]) -> st.SearchStrategy[T]:
    """One of the choices, each as often as its weight says. (``one_of`` flattens and so forgets how choices were grouped.)"""
    return st.sampled_from([choice for weight, choice in choices for _ in range(weight)]).flatmap(lambda choice: choice)


STRAY_NULL = bytes.fromhex("0202 02 0161 00") + spop.ALLOWED
NULL_VALUE = bytes.fromhex("0103 02 0161 00") + spop.ALLOWED
BAD_BOOL = bytes.fromhex("0103 02 0161 10") + spop.ALLOWED
UNENDING = bytes.fromhex("0103 02 0161 03 f080")
WRAPPING = bytes.fromhex("0103 02 ff f0fefefefefefefe0e 61")
LONG_NAME = spop.ALLOWED + bytes.fromhex("0202 01") + spop.text(b"n" * 57) + spop.ALLOWED
PROC = spop.ALLOWED + bytes.fromhex("0103 00 0161 11")
LONGEST_NAME = bytes.fromhex("0103 02") + spop.text(b"n" * 57) + b"\x11"
LONG_TEXT = bytes.fromhex("0103 02 0161 08") + spop.text(b"x" * 900)

GOOD_ACTIONS = st.sampled_from([spop.ALLOWED, spop.ALLOWED, spop.ALLOWED * 3, LONG_TEXT, LONGEST_NAME])
ODD_ACTIONS = st.sampled_from([
    b"", STRAY_NULL, NULL_VALUE, BAD_BOOL, LONG_NAME, PROC, UNENDING, WRAPPING,
    b"\x00", b"\x07" + spop.ALLOWED, spop.ALLOWED[:-1],
])  # fmt: skip
ACTIONS = st.one_of(GOOD_ACTIONS, ODD_ACTIONS, st.binary(max_size=20))
MESSAGES = st.sampled_from([
    spop.ONE_MESSAGE, spop.ONE_MESSAGE, spop.ONE_MESSAGE * 2, b"", b"\x01m\x05", b"\x01m\x01\x01k\x0f", b"\x01m\x01\x01k\x03\xf0",
    bytes.fromhex("016d 01 0161 08") + spop.text(b"y" * 300),
])  # fmt: skip
FLAGS = st.sampled_from([*[1] * 8, 0, 2, 3, 0x80000001, 0xFFFFFFFF])
STATUS = st.sampled_from([0, 0, 4, 13, 99, 100, 2**32])
TEXTS = st.sampled_from([b"bye", b"", b"z" * 200, b"z" * 201, b"z" * 300, b"\xff\xfe"])
CAPABILITIES = st.sampled_from([b"pipelining", b"pipelining,async", b"", b"fragmentation, pipelining", b"fragmentation", b"\xff"])
SIZES = st.sampled_from([16380, 16380, 1024, 256, 255, 1, 0, 16381, 65536, 2**32])

good_notifies = st.builds(lambda ids: spop.frame(spop.NOTIFY, ids, spop.ONE_MESSAGE), KNOWN)
good_acks = st.builds(lambda ids, payload: spop.frame(spop.ACK, ids, payload), KNOWN, GOOD_ACTIONS)
notifies = st.builds(lambda ids, payload, flags: spop.frame(spop.NOTIFY, ids, payload, flags), IDS, MESSAGES, FLAGS)
acks = st.builds(lambda ids, payload, flags: spop.frame(spop.ACK, ids, payload, flags), IDS, ACTIONS, FLAGS)
fragments = st.builds(lambda ids, payload, flags: spop.frame(spop.UNSET, ids, payload, flags), IDS, MESSAGES, FLAGS)


@st.composite
def split_acks(draw: st.DrawFn, ids: st.SearchStrategy[tuple[int, int]] = KNOWN) -> bytes:
    """An ACK in fragments, complete or not, with another frame between them or not."""
    one, payload = draw(ids), draw(GOOD_ACTIONS)
    marks = sorted(draw(st.lists(st.integers(0, len(payload)), min_size=1, max_size=2)))
    parts = [payload[start:end] for start, end in zip([0, *marks], [*marks, len(payload)], strict=True)]
    sent = [spop.frame(spop.ACK, one, parts[0], 0), *(spop.frame(spop.UNSET, one, part, 0) for part in parts[1:-1])]
    if draw(st.integers(0, 3)):
        sent.append(spop.frame(spop.UNSET, one, parts[-1], draw(st.sampled_from([spop.FIN, spop.FIN, spop.FIN, spop.ABRT]))))
    if not draw(st.integers(0, 3)):
        sent.insert(draw(st.integers(1, len(sent))), draw(good_acks))
    return b"".join(sent)


LONG_MESSAGES = st.sampled_from([
    spop.ONE_MESSAGE * 3,
    *(bytes.fromhex("016d 01 0161 08") + spop.text(b"y" * size) for size in (240, 300, 900, 1100, 16300, 16400)),
])  # fmt: skip


@st.composite
def split_notifies(draw: st.DrawFn, ids: st.SearchStrategy[tuple[int, int]] = KNOWN) -> bytes:
    """A NOTIFY in fragments, as HAProxy up to 3.0 sends it: to the end, or given up; now and then broken off, or disturbed."""
    one, payload = draw(ids), draw(weighted((4, LONG_MESSAGES), (1, MESSAGES)))
    marks = sorted(draw(st.lists(st.integers(0, len(payload)), min_size=1, max_size=3)))
    parts = [payload[start:end] for start, end in zip([0, *marks], [*marks, len(payload)], strict=True)]
    sent = [spop.frame(spop.NOTIFY, one, parts[0], 0), *(spop.frame(spop.UNSET, one, part, 0) for part in parts[1:-1])]
    end = draw(st.sampled_from(["last", "last", "last", "last", "given up", "nothing"]))
    if end == "last":
        sent.append(spop.frame(spop.UNSET, one, parts[-1]))
    elif end == "given up":
        sent.append(spop.frame(spop.UNSET, one, b"", spop.FIN | spop.ABRT))
    if not draw(st.integers(0, 5)):
        sent.insert(draw(st.integers(1, len(sent))), draw(weighted((1, good_notifies), (1, fragments))))
    return b"".join(sent)


def disconnects(type_: int) -> st.SearchStrategy[bytes]:
    odd = st.sampled_from(
        [
            b"",
            b"\x0bstatus-code\x08\x00",
            b"\x05x",
            b"\x0cstatus-codes\x03\x01\x07message\x08\x00",
            b"\x0bstatus-code\x03\x04\x07message\x08\x00\x08messages\x03\x05",
        ]
    )
    return st.one_of(
        st.builds(lambda status, text: spop.disconnect(type_, status, text), STATUS, TEXTS),
        st.builds(lambda ids: spop.disconnect(type_, 0, b"bye", ids), IDS),
        st.builds(lambda payload, flags: spop.frame(type_, payload=payload, flags=flags), odd, FLAGS),
    )


typed = st.builds(spop.frame, st.sampled_from([0, 1, 2, 3, 4, 42, 101, 102, 103, 104, 255]), IDS, st.binary(max_size=12), FLAGS)
runts = st.builds(
    lambda length, junk: length.to_bytes(4, "big") + junk[:length].ljust(length, b"\0"),
    st.integers(0, 6),
    st.binary(max_size=6),
)
giants = st.builds(
    lambda type_, size: spop.frame(type_, (1, 1), bytes(size)),
    st.sampled_from([spop.NOTIFY, spop.ACK, spop.AGENT_DISCONNECT, 42]),
    st.sampled_from([250, 1020, 16374, 17000]),
)
bad_ids = st.builds(
    lambda type_, ids: (5 + len(ids)).to_bytes(4, "big") + bytes((type_, 0, 0, 0, 1)) + ids,
    st.sampled_from([spop.NOTIFY, spop.ACK, spop.HAPROXY_HELLO, spop.AGENT_HELLO]),
    st.sampled_from([b"\xff" * 4, b"\x01\xf0\x80", b"\xf0" + b"\x80" * 11, b"\xff" * 9 + b"\x7f\x01"]),
)
noises = st.sampled_from([
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff\x67\0\0\0\1",
    b"\x00\x01\x00\x00\x03\0\0\0\1\1\1",
    b"GET / HTTP/1.1\r\n\r\n",
])  # fmt: skip
odd_frames = weighted((2, typed), (3, runts), (2, giants), (2, bad_ids), (1, noises), (1, st.binary(max_size=24)))


@st.composite
def mangled(draw: st.DrawFn, frames: st.SearchStrategy[bytes], others: st.SearchStrategy[bytes]) -> bytes:
    """A frame with its bytes flipped, cut, repeated, or another one written into it."""
    raw = draw(frames) or b"\0"
    at = draw(st.integers(0, len(raw)))
    how = draw(st.sampled_from(["flip", "cut", "behead", "insert", "repeat", "nest", "cross", "shuffle"]))
    if how == "flip":
        at = min(at, len(raw) - 1)
        return raw[:at] + bytes((raw[at] ^ draw(st.integers(1, 255)),)) + raw[at + 1 :]
    if how == "cut":
        return raw[:at]
    if how == "behead":
        return raw[at:]
    if how == "insert":
        return raw[:at] + draw(st.binary(min_size=1, max_size=5)) + raw[at:]
    if how == "repeat":
        return raw + raw[at:]
    other = draw(others)
    if how == "nest":
        return raw[:at] + other + raw[at:]
    if how == "cross":
        mark = draw(st.integers(0, len(other)))
        return raw[:at] + other[:mark] + raw[at:] + other[mark:]
    return raw[at:] + other + raw[:at]


agent_hellos = st.builds(spop.agent_hello, SIZES, CAPABILITIES, st.sampled_from([b"2.0", b"2.0", b" 2.0 ", b"2.1", b"1.0", b""]))
haproxy_hellos = st.one_of(
    st.builds(spop.haproxy_hello, SIZES, CAPABILITIES, healthcheck=st.booleans(), engine=st.sampled_from([b"", b"e-1"])),
    st.builds(lambda keys: spop.frame(spop.HAPROXY_HELLO, payload=keys), st.binary(max_size=20)),
)
agent_frames = weighted((4, acks), (2, split_acks()), (3, disconnects(spop.AGENT_DISCONNECT)), (1, agent_hellos), (4, odd_frames))
haproxy_frames = weighted(
    (6, notifies),
    (2, fragments),
    (3, split_notifies()),
    (2, disconnects(spop.HAPROXY_DISCONNECT)),
    (1, haproxy_hellos),
    (4, odd_frames),
)
agent_bytes = weighted((2, good_acks), (3, agent_frames), (2, mangled(agent_frames, good_acks)))
haproxy_bytes = weighted((2, good_notifies), (3, haproxy_frames), (2, mangled(haproxy_frames, good_notifies)))
