"""Blanks the values in payloads, for NOTIFYs that carry personal data: every length stays, so frames still parse."""

from collections.abc import Iterable, Iterator
from typing import Final

from spoe_guard.capture.files.cut import Cut, Cutter, first_frame
from spoe_guard.wire import frame, typed_data, varint, walk

_X: Final = b"x"
# HELLO and DISCONNECT contain protocol fields only, except for text that an agent or an operator chose.
_CHOSEN: Final = frozenset((b"message", b"engine-id"))


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
    if cut.frame is not None:
        return cut.raw[: cut.frame.payload_at] + _payload(cut.frame)
    if cut.delimited:
        return _headed(cut.raw)
    return _X * len(cut.raw)


def _headed(raw: bytes) -> bytes:
    """Keep only the header of an incomplete frame."""
    head = min(len(raw), frame.IDS_AT)
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
    for start, after in walk(raw, at, end):
        if start != after:
            out[start - at : after - at] = _value(raw, start, after)
        done = after
    return bytes(out[: done - at]) + _X * (end - done)


Values = Iterator[tuple[int, int]]  # start and end of each value; (at, at) only marks how far the frame is valid


def _messages(raw: bytes, pos: int, end: int) -> Values:
    while pos < end:
        pos = walk.string_end(raw, pos, end)
        if not 0 <= pos < end:
            return
        count, pos = raw[pos], pos + 1
        yield pos, pos
        for _ in range(count):
            start = walk.string_end(raw, pos, end)
            pos = walk.value_end(raw, start, end) if start >= 0 else start
            if pos < 0:
                return
            yield start, pos


def _actions(raw: bytes, pos: int, end: int) -> Values:
    while pos < end:
        after = walk.action_end(raw, pos, end)
        if after < 0:
            return
        value = walk.string_end(raw, pos + 3, end)
        yield value, after
        pos = after


def _pairs(raw: bytes, pos: int, end: int) -> Values:
    while pos < end:
        name, start = typed_data.decode_string(raw, pos, end)
        pos = walk.value_end(raw, start, end) if start >= 0 else start
        if pos < 0:
            return
        yield (start if name in _CHOSEN else pos), pos


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
