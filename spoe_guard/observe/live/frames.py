"""The bytes of an anomaly in words: what its frame says, as far as the sample goes."""

import ipaddress
from collections.abc import Iterator
from typing import Final

from spoe_guard.observe.logs import printable
from spoe_guard.wire import actions, frame, kv, typed_data, walk

MAX_LINES: Final = 40
_MAX_VALUE: Final = 64  # bytes of one value that are shown

_TYPES: Final = {
    typed_data.NULL: "null",
    typed_data.BOOL: "bool",
    typed_data.INT32: "int32",
    typed_data.UINT32: "uint32",
    typed_data.INT64: "int64",
    typed_data.UINT64: "uint64",
    typed_data.IPV4: "ipv4",
    typed_data.IPV6: "ipv6",
    typed_data.STR: "str",
    typed_data.BIN: "bin",
}
_SCOPES: Final = ("proc", "sess", "txn", "req", "res")
_Part = tuple[str, int]  # a line, and the position behind what it tells


def explain(sample: bytes, *, values: bool = True) -> list[str]:
    """Return lines that say what the frame at the start of ``sample`` holds; with ``values`` False names and types alone.

    ``sample`` may be cut, malformed or no frame at all: what cannot be read is said, never guessed. Nothing is markup, and
    nothing moves a terminal; a view has to escape it all the same.
    """
    parsed = frame.parse(sample) if len(sample) > frame.IDS_AT and sample[frame.LENGTH_BYTES] in frame.TYPE_NAMES else None
    if parsed is None:
        return _no_frame(sample, values=values)
    length = walk.length_at(sample, 0)
    end = min(len(sample), frame.LENGTH_BYTES + length)
    lines = [_head(parsed, length)]
    at = parsed.payload_at
    for line, behind in _payload(parsed, end, values=values):
        at = behind
        if len(lines) == MAX_LINES:
            return [*lines, "..."]
        lines.append(f"  {line}")
    missing = frame.LENGTH_BYTES + length - len(sample)
    if missing > 0:
        lines.append(f"  {_bytes(missing)} more than kept here")
    elif at < end:
        lines.append(
            f"  {_bytes(end - at)} that cannot be read" + (f": {sample[at:end][:_MAX_VALUE].hex(' ')}" if values else "")
        )
    return lines


def _head(parsed: frame.Frame, length: int) -> str:
    flags = [name for bit, name in ((frame.FLAG_FIN, "FIN"), (frame.FLAG_ABRT, "ABRT")) if parsed.flags & bit]
    if rest := parsed.flags & ~(frame.FLAG_FIN | frame.FLAG_ABRT):
        flags.append(f"flags {rest:#x}")
    name = frame.TYPE_NAMES[parsed.type].replace("_", "-")
    return f"{name} stream-id {parsed.stream_id} frame-id {parsed.frame_id}, length {length}, {' '.join(flags) or 'no FIN'}"


def _payload(parsed: frame.Frame, end: int, *, values: bool) -> Iterator[_Part]:
    raw, at = parsed.raw, parsed.payload_at
    if parsed.type == frame.NOTIFY:
        yield from _messages(raw, at, end, values=values)
    elif parsed.type == frame.ACK:
        yield from _actions(raw, at, end, values=values)
    elif parsed.type != frame.UNSET:
        yield from _pairs(kv.parse(raw, at, end)[0], at, values=values)


def _messages(raw: bytes, at: int, end: int, *, values: bool) -> Iterator[_Part]:
    while at < end:
        name, behind = typed_data.decode_string(raw, at, end)
        if not 0 <= behind < end:
            return
        count, at = raw[behind], behind + 1
        yield f"message {_text(name)}, {count} argument{'' if count == 1 else 's'}", at
        args = kv.parse(raw, at, end)[0][:count]
        for line, behind in _pairs(args, at, values=values):
            at = behind
            yield f"  {line}", at
        if len(args) < count:
            return


def _pairs(pairs: list[kv.Pair], at: int, *, values: bool) -> Iterator[_Part]:
    for pair in pairs:
        at += len(pair.raw)
        yield f"{_text(pair.name)} = {_value(pair.type, pair.value, shown=values)}", at


def _actions(raw: bytes, at: int, end: int, *, values: bool) -> Iterator[_Part]:
    for action in actions.parse(raw, at, end)[0]:
        at += len(action.raw)
        name = f"{_SCOPES[action.scope]}.{_text(action.name)}"
        if action.type == walk.UNSET_VAR:
            yield f"unset-var {name}", at
        else:
            name_end = walk.string_end(action.raw, 3, len(action.raw))
            kind = action.raw[name_end] & typed_data.TYPE_MASK
            yield f"set-var {name} = {_value(kind, action.value, shown=values)}", at


def _value(kind: int, value: typed_data.Value, *, shown: bool) -> str:
    name = _TYPES[kind]
    if kind == typed_data.NULL:
        return name
    if isinstance(value, bytes):
        if not shown:
            return f"{name} of {_bytes(len(value))}"
        return f"{name} {_text(value) if kind == typed_data.STR else value[:_MAX_VALUE].hex(' ')}"
    if not shown:
        return name
    if isinstance(value, bool):
        return f"{name} {str(value).lower()}"
    return f"{name} {value}" if isinstance(value, int | ipaddress.IPv4Address | ipaddress.IPv6Address) else name


def _text(text: bytes) -> str:
    more = "..." if len(text) > _MAX_VALUE else ""
    return f'"{printable(text[:_MAX_VALUE].decode("utf-8", "backslashreplace"))}{more}"'


def _no_frame(sample: bytes, *, values: bool) -> list[str]:
    if not sample:
        return ["no bytes of its own"]
    said = f"no frame can be read from {_bytes(len(sample))}"
    return [f"{said}: {_text(sample)}"] if values else [said]


def _bytes(count: int) -> str:
    return f"{count} byte{'' if count == 1 else 's'}"
