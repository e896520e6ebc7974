"""What a frame says, in words for a person; nothing that a peer wrote reaches a terminal unescaped."""

from typing import Final

from spoe_guard.wire import actions, frame, kv, messages, typed_data, walk

_SCOPES: Final = ("proc", "sess", "txn", "req", "res")
_TEXT_SHOWN: Final = 60  # characters of one value

_FLAGS: Final = ((frame.FLAG_FIN, "FIN"), (frame.FLAG_ABRT, "ABRT"))


def type_name(type_: int) -> str:
    """Return the frame's name in HAProxy's words, or its number."""
    return frame.TYPE_NAMES[type_].replace("_", "-") if type_ in frame.TYPE_NAMES else f"type {type_}"


def describe(of: frame.Frame) -> str:
    """Return one line about the payload, and about flags where they are not FIN alone."""
    raw, at, end = of.raw, of.payload_at, len(of.raw)
    if of.type == frame.NOTIFY and of.fin:
        said = _notify(of.payload)
    elif of.type == frame.ACK and of.fin:
        said = _ack(raw, at, end)
    elif of.type in (frame.NOTIFY, frame.ACK, frame.UNSET) or of.type not in frame.TYPE_NAMES:
        said = f"{end - at} bytes: {of.payload[:16].hex()}" if end > at else ""
    else:
        pairs, stop = kv.parse(raw, at, end)
        said = " ".join(pair_text(pair) for pair in pairs) + _rest(raw, stop, end)
    return said if of.flags == frame.FLAG_FIN else f"{said} [{flags_text(of.flags)}]".strip()


def flags_text(flags: int) -> str:
    """Return the flags by name, or that there are none."""
    names = [name for bit, name in _FLAGS if flags & bit]
    other = flags & ~(frame.FLAG_FIN | frame.FLAG_ABRT)
    return " ".join(names + ([f"reserved {other:#x}"] if other else [])) or "no flags, so not the last fragment"


def pair_text(pair: kv.Pair) -> str:
    """Return ``name=value``."""
    return f"{bare(pair.name)}={value_text(pair.type, pair.value)}"


def value_text(kind: int, value: typed_data.Value) -> str:
    """Return a typed value, text in quotes."""
    if isinstance(value, bytes):
        return f"0x{value[: _TEXT_SHOWN // 2].hex()}" if kind == typed_data.BIN else quoted(value)
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def quoted(text: bytes) -> str:
    """Return text in quotes, shortened, with everything that is not printable ASCII escaped."""
    shown = bare(text[:_TEXT_SHOWN]).replace('"', '\\"')
    return f'"{shown}"' + ("..." if len(text) > _TEXT_SHOWN else "")


def bare(text: bytes) -> str:
    """Return text with everything that is not printable ASCII escaped."""
    return text.decode("latin-1").encode("unicode_escape").decode()


def _notify(payload: bytes) -> str:
    found = messages.parse(payload)
    if found is None:
        return f"messages that cannot be read: {payload[:32].hex()}"
    return " ".join(f"{bare(each.name)}({' '.join(pair_text(pair) for pair in each.args)})" for each in found) or "no message"


def _ack(raw: bytes, at: int, end: int) -> str:
    found, stop = actions.parse(raw, at, end)
    said = [_action(each) for each in found]
    return ("; ".join(said) or ("" if stop < end else "no action")) + _rest(raw, stop, end)


def _action(action: actions.Action) -> str:
    variable = f"{_SCOPES[action.scope]}.{bare(action.name)}"
    if action.type == walk.UNSET_VAR:
        return f"unset-var {variable}"
    return f"set-var {variable}={value_text(_kind_of(action), action.value)}"


def _kind_of(action: actions.Action) -> int:
    _, at = typed_data.decode_string(action.raw, 3, len(action.raw))
    return action.raw[at] & typed_data.TYPE_MASK


def _rest(raw: bytes, stop: int, end: int) -> str:
    return f" and {end - stop} bytes that cannot be read: {raw[stop : stop + 16].hex()}" if stop < end else ""
