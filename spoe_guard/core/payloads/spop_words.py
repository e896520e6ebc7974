"""The words of SPOP itself in HELLO and DISCONNECT: all that may be shown of a payload where payloads are not.

A key, a version and a capability are words that SPOE.txt has; everything else in them a peer chose. Sizes and status codes are
numbers, and of no text.

Source: SPOE.txt 3.2.4, 3.2.5, 3.2.8, 3.2.9.
"""

from typing import Final

from spoe_guard.core.payloads import hello_keys
from spoe_guard.core.terms.config import KNOWN_CAPABILITIES
from spoe_guard.wire import typed_data

_LISTS: Final = {  # the keys whose value is a list of words, and whether they are versions
    b"version": True,
    hello_keys.VERSIONS: True,
    hello_keys.CAPABILITIES: False,
}
_TEXTS: Final = frozenset((hello_keys.ENGINE_ID, b"message"))  # chosen by whoever writes them
_NUMBERS: Final = frozenset((hello_keys.SIZE, b"status-code", hello_keys.HEALTHCHECK))
KEYS: Final = frozenset((*_LISTS, *_TEXTS, *_NUMBERS))
_LONGEST_VERSION: Final = 5  # 99.99


def is_spops(key: bytes, value: typed_data.Value) -> bool:
    """Whether the value of ``key``, in a HELLO or DISCONNECT, holds nothing but words of SPOP, or a number that it asks for."""
    if key in _NUMBERS:
        return isinstance(value, int)
    if key not in _LISTS or not isinstance(value, bytes):
        return False
    known = _is_version if _LISTS[key] else _is_capability
    return all(known(word.strip()) for word in value.split(b",") if word)


def _is_version(word: bytes) -> bool:
    major, dot, minor = word.partition(b".")
    return len(word) <= _LONGEST_VERSION and major.isdigit() and minor.isdigit() and dot == b"."


def _is_capability(word: bytes) -> bool:
    return word.decode("latin-1") in KNOWN_CAPABILITIES
