"""A frame as text for a person: in one line for decoded captures, or with a line per item for the live page.

Text from a peer never appears raw: invisible characters are escaped, and long values are shortened. Without ``values`` none of it
appears at all: numbers of the header, types, lengths and counts do, and the words of SPOP itself (core/payloads/spop_words.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from spoe_guard.core.payloads.spop_words import KEYS, is_spops
from spoe_guard.counted import counted
from spoe_guard.observe.logs import printable
from spoe_guard.wire import actions, frame, kv, typed_data, walk

MAX_LINES: Final = 40
MAX_VALUE: Final = 64  # bytes of one value that are shown

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
_FLAGS: Final = ((frame.FLAG_FIN, "FIN"), (frame.FLAG_ABRT, "ABRT"))
_NOTHING: Final = {frame.NOTIFY: "no message", frame.ACK: "no action"}  # the line for an empty payload
_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


@dataclass(frozen=True, slots=True)
class _Message:
    """A message of a NOTIFY: it announces ``count`` arguments; ``args`` are those that can be read."""

    name: bytes
    count: int
    args: list[kv.Pair]


_Item: TypeAlias = _Message | kv.Pair | actions.Action


# --- the two forms -------------------------------------------------------------------------------------------------------


def describe(of: frame.Frame) -> str:
    """Return one line about the payload of a whole frame, and about its flags unless they are just FIN."""
    end = len(of.raw)
    items, at = _read(of, end)
    text = ("; " if of.type in _NOTHING else " ").join(_in_short(item) for item in items)
    if of.payload_at == end:
        text = _NOTHING.get(of.type, "")
    if at < end:
        text += (", and " if text else "") + _rest(of, at, end, values=True)
    return text if of.flags == frame.FLAG_FIN else f"{text} [{flags_text(of.flags)}]".strip()


def explain(sample: bytes, *, values: bool = True, names: bool = False) -> list[str]:
    """Return lines that describe the frame at the start of ``sample``; with ``values`` False only how it is built.

    ``names``: then the names of messages, arguments and variables all the same, as far as they look like names.

    ``sample`` may be cut, malformed or no frame at all: unreadable bytes are reported, never guessed. The lines hold no terminal
    controls; a view still has to escape them for its markup.
    """
    parsed = frame.parse(sample) if len(sample) > frame.IDS_AT and sample[frame.LENGTH_BYTES] in frame.TYPE_NAMES else None
    if parsed is None:
        return _no_frame(sample, values=values)
    length = walk.length_at(sample, 0)
    end = min(len(sample), frame.LENGTH_BYTES + length)
    items, at = _read(parsed, end)
    ids = f"stream-id {parsed.stream_id} frame-id {parsed.frame_id}"
    lines = [f"{type_name(parsed.type)} {ids}, length {length}, {flags_text(parsed.flags)}"]
    lines += [f"  {line}" for item in items for line in _in_lines(item, values=values, names=names)]
    if len(lines) > MAX_LINES:
        return [*lines[:MAX_LINES], "..."]
    missing = frame.LENGTH_BYTES + length - len(sample)
    if missing > 0:
        lines.append(f"  {counted(missing, 'byte')} more than kept here")
    elif at < end:
        lines.append(f"  {_rest(parsed, at, end, values=values)}")
    return lines


# --- for both forms ------------------------------------------------------------------------------------------------------


def type_name(type_: int) -> str:
    """Return the frame type's name as HAProxy writes it, or its number."""
    return frame.TYPE_NAMES[type_].replace("_", "-") if type_ in frame.TYPE_NAMES else f"type {type_}"


def flags_text(flags: int) -> str:
    """Return the flags by name; ``no FIN`` where none is set."""
    names = [name for bit, name in _FLAGS if flags & bit]
    if reserved := flags & ~(frame.FLAG_FIN | frame.FLAG_ABRT):
        names.append(f"reserved {reserved:#x}")
    return " ".join(names) or "no FIN"


def value_text(kind: int, value: typed_data.Value) -> str:
    """Return a typed value: text in quotes, bytes in hex."""
    if isinstance(value, bytes):
        return _hex(value) if kind == typed_data.BIN else quoted(value)
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def name_text(name: bytes) -> str:
    """Return a name, in quotes where it is empty, long, or has other characters than letters, digits, ``_``, ``.`` and ``-``."""
    return name.decode() if _is_plain(name) else quoted(name)


def _is_plain(name: bytes) -> bool:
    return bool(name) and len(name) <= MAX_VALUE and _PLAIN.issuperset(name)


def quoted(text: bytes) -> str:
    r"""Return text in quotes, shortened, with invisible characters as ``\x1b``, and quotes and backslashes as ``\"``."""
    shown = text[:MAX_VALUE].replace(b"\\", b"\\\\").replace(b'"', b'\\"').decode("utf-8", "backslashreplace")
    return f'"{printable(shown)}"' + ("..." if len(text) > MAX_VALUE else "")


def _hex(data: bytes) -> str:
    return f"0x{data[:MAX_VALUE].hex()}" + ("..." if len(data) > MAX_VALUE else "")


# --- what a payload holds --------------------------------------------------------------------------------------------------


def _read(of: frame.Frame, end: int) -> tuple[Sequence[_Item], int]:
    """Return the items of the payload up to ``end``, and the position where it becomes unreadable."""
    raw, at = of.raw, of.payload_at
    if of.type == frame.NOTIFY:
        return _messages(raw, at, end)
    if of.type == frame.ACK:
        return actions.parse(raw, at, end)
    if of.type == frame.UNSET or of.type not in frame.TYPE_NAMES:
        return [], at
    return kv.parse(raw, at, end)


def _messages(raw: bytes, at: int, end: int) -> tuple[list[_Message], int]:
    found: list[_Message] = []
    while at < end:
        name, behind = typed_data.decode_string(raw, at, end)
        if not 0 <= behind < end:
            break
        after = walk.message_end(raw, at, end)
        args, at = kv.parse(raw, behind + 1, after if after >= 0 else end)
        found.append(_Message(name, raw[behind], args))
        if after < 0:
            break
    return found, at


def _in_short(item: _Item) -> str:
    if isinstance(item, _Message):
        text = f"{name_text(item.name)}({' '.join(_in_short(pair) for pair in item.args)})"
        return text if len(item.args) == item.count else f"{text} with {len(item.args)} of {counted(item.count, 'argument')}"
    if isinstance(item, kv.Pair):
        return f"{name_text(item.name)}={value_text(item.type, item.value)}"
    if item.type == walk.UNSET_VAR:
        return f"unset-var {_variable(item)}"
    return f"set-var {_variable(item)}={value_text(_kind(item), item.value)}"


def _in_lines(item: _Item, *, values: bool, names: bool) -> list[str]:
    if isinstance(item, _Message):
        args = [_pair(pair, values=values, named=values or (names and _is_plain(pair.name))) for pair in item.args]
        name = f" {name_text(item.name)}" if values or (names and _is_plain(item.name)) else ""
        return [f"message{name}, {counted(item.count, 'argument')}", *(f"  {arg}" for arg in args)]
    if isinstance(item, kv.Pair):  # of a HELLO or DISCONNECT
        shown = values or is_spops(item.name, item.value)
        return [_pair(item, values=shown, named=values or item.name in KEYS)]
    named = values or (names and _is_plain(item.name))
    variable = _variable(item) if named else f"{_SCOPES[item.scope]} of {counted(len(item.name), 'byte')}"
    if item.type == walk.UNSET_VAR:
        return [f"unset-var {variable}"]
    return [f"set-var {variable} = {_typed(_kind(item), item.value, values=values)}"]


def _pair(pair: kv.Pair, *, values: bool, named: bool) -> str:
    name = name_text(pair.name) if named else f"name of {counted(len(pair.name), 'byte')}"
    return f"{name} = {_typed(pair.type, pair.value, values=values)}"


def _typed(kind: int, value: typed_data.Value, *, values: bool) -> str:
    """Return the type of a value, with the value or its length."""
    name = _TYPES[kind]
    if kind == typed_data.NULL:
        return name
    if values:
        return f"{name} {value_text(kind, value)}"
    return f"{name} of {counted(len(value), 'byte')}" if isinstance(value, bytes) else name


def _variable(action: actions.Action) -> str:
    return f"{_SCOPES[action.scope]}.{name_text(action.name)}"


def _kind(action: actions.Action) -> int:
    """Return the type of the value in a SET-VAR."""
    return action.raw[walk.string_end(action.raw, 3, len(action.raw))] & typed_data.TYPE_MASK


def _rest(of: frame.Frame, at: int, end: int, *, values: bool) -> str:
    """Return text about the unread rest of a payload; in a fragment such a rest is no fault."""
    whole = of.fin and of.type in frame.TYPE_NAMES and of.type != frame.UNSET
    text = counted(end - at, "byte") + (" that cannot be read" if whole else "")
    return f"{text}: {_hex(of.raw[at:end])}" if values else text


def _no_frame(sample: bytes, *, values: bool) -> list[str]:
    if not sample:
        return ["no bytes of its own"]
    text = f"no frame can be read from {counted(len(sample), 'byte')}"
    return [f"{text}: {quoted(sample)}"] if values else [text]
