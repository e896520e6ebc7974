"""The keys of HAPROXY-HELLO: checks them against SPOE.txt, and guesses what a key of the wrong type means.

Source: SPOE.txt 3.2.4.
"""

from typing import Final

from spoe_guard.wire import kv, typed_data

SIZE: Final = b"max-frame-size"
CAPABILITIES: Final = b"capabilities"
ENGINE_ID: Final = b"engine-id"
HEALTHCHECK: Final = b"healthcheck"
VERSIONS: Final = b"supported-versions"

_KEYS: Final = (  # name, type, whether it must be there
    (VERSIONS, typed_data.STR, True),
    (SIZE, typed_data.UINT32, True),
    (CAPABILITIES, typed_data.STR, True),
    (HEALTHCHECK, typed_data.BOOL, False),
    (ENGINE_ID, typed_data.STR, False),
)
_TYPES: Final = {name: kind for name, kind, _ in _KEYS}


def complaint(keys: dict[bytes, kv.Pair]) -> str:
    """Return which key is missing or mistyped, or nothing. A mistyped one ends every process built on negasus/haproxy-spoe-go."""
    for name, kind, needed in _KEYS:
        if name not in keys:
            if needed:
                return f"the key {name.decode()} is missing"
        elif keys[name].type != kind:
            return f"the key {name.decode()} is of the wrong type"
    return ""


def exact(pairs: list[kv.Pair]) -> tuple[list[kv.Pair], list[str], list[str]]:
    """Return (the keys of SPOE.txt, each with its type; those that were retyped; those that were left out).

    A mistyped key whose value is not certain stays as it is.
    """
    kept: list[kv.Pair] = []
    retyped: list[str] = []
    unknown: list[str] = []
    for pair in pairs:
        kind = _TYPES.get(pair.name)
        if kind is None:
            unknown.append(pair.name[:32].decode("ascii", "replace"))
        elif pair.type != kind and (meant := _meant(pair, kind)) is not None:
            retyped.append(pair.name.decode())
            kept.append(kv.Pair(pair.name, kind, meant))
        else:
            kept.append(pair)
    return kept, retyped, unknown


def _meant(pair: kv.Pair, kind: int) -> typed_data.Value:
    """Return the value converted to type ``kind`` if that is certain, otherwise None."""
    value = pair.value
    if kind == typed_data.STR:
        return value if pair.type == typed_data.BIN else None
    if pair.type not in typed_data.INTEGER_TYPES or not isinstance(value, int):
        return None
    if kind == typed_data.UINT32:
        return value if 0 <= value < 1 << 32 else None
    return bool(value) if value in (0, 1) else None
