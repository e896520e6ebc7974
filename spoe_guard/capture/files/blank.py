"""Blanks names and values in payloads, for NOTIFYs that carry personal data: every length stays, so frames still parse.

What stays of a payload is how it is built, and the words of SPOP itself in HELLO and DISCONNECT (core/payloads/spop_words.py).
"""

from collections.abc import Iterable, Iterator
from typing import Final

from spoe_guard.capture.files.cut import Cut, Cutter, first_frame
from spoe_guard.core.payloads.spop_words import KEYS, is_spops
from spoe_guard.wire import frame, typed_data, varint, walk

_X: Final = b"x"
_RESERVED: Final = slice(5, 8)  # of a frame: three bytes of its flags, which are always zero in one that is a frame


def blank(parts: Iterable[tuple[bytes, bool]]) -> list[bytes]:
    """Return each of ``parts``, which follow one another in a stream, with its values blanked.

    The flag: bytes are missing before the part.
    """
    parts = list(parts)
    whole = bytearray()
    run: list[bytes] = []
    for data, gap in parts:
        if gap:
            whole += _stream(b"".join(run))
            skipped = first_frame(data)
            whole += _X * skipped
            run = [data[skipped:]]
        else:
            run.append(data)
    whole += _stream(b"".join(run))
    found, at = [], 0
    for data, _ in parts:
        found.append(bytes(whole[at : at + len(data)]))
        at += len(data)
    return found


def _stream(data: bytes) -> bytes:
    cutter = Cutter()
    return b"".join(_cut(cut) for cut in cutter.feed(data) + cutter.finish())


def _cut(cut: Cut) -> bytes:
    if cut.frame is not None and not any(cut.raw[_RESERVED]):
        return cut.raw[: cut.frame.payload_at] + _payload(cut.frame)
    if cut.delimited:
        return _headed(cut.raw)
    return _X * len(cut.raw)


def _headed(raw: bytes) -> bytes:
    """Keep only the header of an incomplete frame, or only the length of what has no header of a frame."""
    head = min(len(raw), frame.LENGTH_BYTES)
    if len(raw) >= frame.IDS_AT and raw[head] in frame.TYPE_NAMES and not any(raw[_RESERVED]):
        head = frame.IDS_AT
        after = walk.ids_end(raw, head, len(raw)) if len(raw) > head else -1
        head = after if after > 0 else head
    return raw[:head] + _X * (len(raw) - head)


def _payload(of: frame.Frame) -> bytes:
    raw, at, end = of.raw, of.payload_at, len(of.raw)
    if not of.fin or of.type not in frame.TYPE_NAMES or of.type == frame.UNSET:
        return _X * (end - at)
    walk = _messages if of.type == frame.NOTIFY else _actions if of.type == frame.ACK else _pairs
    out = bytearray(raw[at:end])
    done = at
    for start, after, value in walk(raw, at, end):
        if start != after:
            out[start - at : after - at] = _value(raw, start, after) if value else _X * (after - start)
        done = after
    return bytes(out[: done - at]) + _X * (end - done)


# Start and end of each name and value, and whether it is a value; (at, at) only marks how far the frame is valid.
Parts = Iterator[tuple[int, int, bool]]


def _name(raw: bytes, at: int, end: int, kept: int = 0) -> tuple[int, int, bool]:
    """Return where the text of the name at ``at`` stands, which ends at ``end``, without its first ``kept`` bytes."""
    _, start = varint.decode(raw, at, end)
    return start + kept, end, False


def _messages(raw: bytes, pos: int, end: int) -> Parts:
    while pos < end:
        after = walk.string_end(raw, pos, end)
        if not 0 <= after < end:
            return
        yield _name(raw, pos, after)
        count, pos = raw[after], after + 1
        yield pos, pos, False
        for _ in range(count):
            start = walk.string_end(raw, pos, end)
            after = walk.value_end(raw, start, end) if start >= 0 else start
            if after < 0:
                return
            yield _name(raw, pos, start)
            yield start, after, True
            pos = after


def _actions(raw: bytes, pos: int, end: int) -> Parts:
    while pos < end:
        after = walk.action_end(raw, pos, end)
        if after < 0:
            return
        value = walk.string_end(raw, pos + 3, end)
        yield _name(raw, pos + 3, value)
        yield value, after, True
        pos = after


def _pairs(raw: bytes, pos: int, end: int) -> Parts:
    while pos < end:
        name, start = typed_data.decode_string(raw, pos, end)
        after = walk.value_end(raw, start, end) if start >= 0 else start
        if after < 0:
            return
        kept = max((len(key) for key in KEYS if name.startswith(key)), default=0)  # HAProxy may take it for that key
        yield _name(raw, pos, start, kept)
        value, _ = typed_data.decode_value(raw, start, after)
        yield (after if is_spops(name, value) else start), after, True
        pos = after


def _value(raw: bytes, start: int, after: int) -> bytes:
    """Return typed data of the same type and length, without the value."""
    kind = raw[start] & typed_data.TYPE_MASK
    head, size = bytes((kind,)), after - start - 1
    if kind in typed_data.INTEGER_TYPES:
        return head + (bytes(1) if size == 1 else b"\xf0" + b"\x80" * (size - 2) + bytes(1))
    if kind in (typed_data.STR, typed_data.BIN):
        _, at = varint.decode(raw, start + 1, after)
        return head + raw[start + 1 : at] + _X * (after - at)
    return head + bytes(size)
