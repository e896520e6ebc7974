"""Values as a person writes them on a command line: ``NAME=VALUE``, ``NAME:TYPE=VALUE``."""

import ipaddress
from collections.abc import Callable
from typing import Final, TypeVar

from spoe_guard.wire import actions, kv, typed_data, walk

SCOPES: Final = {
    "proc": walk.SCOPE_PROC,
    "sess": walk.SCOPE_SESS,
    "txn": walk.SCOPE_TXN,
    "req": walk.SCOPE_REQ,
    "res": walk.SCOPE_RES,
}
_BOOLS: Final = {"true": True, "false": False}
_MAX_INT: Final = 2**63 - 1
_MAX_BYTES: Final = 8192
_MOST_SHOWN: Final = 200  # characters of a text that is wrong

_Read = Callable[[str], typed_data.Value]


def _integer(text: str) -> int:
    number = int(text)
    if abs(number) > _MAX_INT:
        raise ValueError(text)
    return number


# As HAProxy sends its own: all numbers in 64 bits with a sign.
_TYPES: Final[dict[str, tuple[int, _Read]]] = {
    "str": (typed_data.STR, str.encode),
    "bin": (typed_data.BIN, bytes.fromhex),
    "bool": (typed_data.BOOL, _BOOLS.__getitem__),
    "int": (typed_data.INT64, _integer),
    "ipv4": (typed_data.IPV4, ipaddress.IPv4Address),
    "ipv6": (typed_data.IPV6, ipaddress.IPv6Address),
}


T = TypeVar("T")


def read(option: str, text: str, how: Callable[[str], T]) -> T:
    """Return ``how(text)``; the text of a ValueError names the option and its value.

    Raises:
        ValueError: ``how`` raised one.
    """
    try:
        return how(text)
    except ValueError as error:
        raise ValueError(f"{option}: {text[:_MOST_SHOWN]!a}: {error}") from None


def argument(text: str) -> kv.Pair:
    """Return the argument of a message that ``NAME=VALUE`` or ``NAME:TYPE=VALUE`` describes.

    Raises:
        ValueError: the message says what is wrong, for a person, without the text itself.
    """
    return kv.Pair(*_parsed(text))


def set_var(text: str) -> bytes:
    """Return the SET-VAR action that ``[SCOPE.]NAME=VALUE`` or ``[SCOPE.]NAME:TYPE=VALUE`` describes; without a scope it is txn.

    Raises:
        ValueError: as for ``argument``.
    """
    scope, dot, rest = text.partition(".")
    if dot and scope in SCOPES:
        name, kind, value = _parsed(rest)
        return actions.set_var(SCOPES[scope], name, kind, value)
    name, kind, value = _parsed(text)
    return actions.set_var(walk.SCOPE_TXN, name, kind, value)


def _parsed(text: str) -> tuple[bytes, int, typed_data.Value]:
    named, equals, value = text.partition("=")
    name, _, kind = named.partition(":")
    if not equals or not name:
        raise ValueError("expected NAME=VALUE or NAME:TYPE=VALUE")
    if len(text.encode()) > _MAX_BYTES:
        raise ValueError(f"expected at most {_MAX_BYTES} bytes")
    if kind and kind not in _TYPES:
        raise ValueError(f"the type is one of {', '.join(_TYPES)}")
    number, read = _TYPES[kind or "str"]
    try:
        return name.encode(), number, read(value)
    except (ValueError, KeyError):
        raise ValueError(f"{value!a} is no value of type {kind}") from None
