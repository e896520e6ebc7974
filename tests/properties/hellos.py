"""The content of both HELLOs, and whether the other side would accept them (SPOE.txt 3.2.4, 3.2.5)."""

import functools
from dataclasses import dataclass

from tests.properties import spop
from tests.properties.spop import Frame, UnreadableError


def names(value: object) -> set[str]:
    return {name.strip() for name in value.decode("utf-8", "replace").split(",")} - {""} if isinstance(value, bytes) else set()


@dataclass(frozen=True)
class Offer:
    size: int
    capabilities: set[str]
    healthcheck: bool


def offer_of(sent: Frame) -> Offer:
    """A HAPROXY-HELLO. Raises UnreadableError when it is none (SPOE.txt 3.2.4)."""
    if sent.type != spop.HAPROXY_HELLO or sent.flags != spop.FIN or sent.ids != (0, 0):
        raise UnreadableError("not a HAPROXY-HELLO with FIN and ids 0")
    keys = spop.pairs(sent.payload)
    versions, size, capabilities = (
        keys.get(key, (0, None)) for key in (b"supported-versions", b"max-frame-size", b"capabilities")
    )
    if versions[0] != 8 or "2.0" not in names(versions[1]):
        raise UnreadableError("supported-versions")
    if size[0] != 3 or not isinstance(size[1], int) or size[1] < 256:
        raise UnreadableError("max-frame-size")
    if capabilities[0] != 8:
        raise UnreadableError("capabilities")
    return Offer(size[1], names(capabilities[1]), keys.get(b"healthcheck", (1, False))[1] is True)


def first_offer(sent: bytes) -> Offer | None:
    """What HAProxy offers in the bytes it said so far, None while, or where, that is no valid HELLO."""
    end = 4 + int.from_bytes(sent[:4], "big")
    return _offer(sent[:end]) if 4 <= end <= len(sent) and len(sent) >= 4 else None


@functools.lru_cache(64)
def _offer(raw: bytes) -> Offer | None:
    try:
        return offer_of(spop.read_frame(raw))
    except UnreadableError:
        return None


HELLO_KEYS = {b"version", b"max-frame-size", b"capabilities"}  # all that HAProxy knows of an AGENT-HELLO
# Concerns the one who announces it alone: an agent may say so unasked, and HAProxy up to 3.0 takes it (SPOE.txt 3.2.1).
FRAGMENTATION = "fragmentation"


def agent_terms(sent: Frame, offered: int, capabilities: set[str]) -> tuple[int, set[str]]:
    """Size and capabilities of an AGENT-HELLO that HAProxy takes. Raises UnreadableError when it is none (SPOE.txt 3.2.5)."""
    if sent.flags != spop.FIN or sent.ids != (0, 0):
        raise UnreadableError("flags or ids")
    keys = spop.pairs(sent.payload)
    known = (b"version", b"max-frame-size", b"capabilities")
    for name in keys:
        if name not in known and name.startswith(known):
            raise UnreadableError(f"HAProxy mistakes the key {name!r} for another")
    kind, version = keys.get(b"version", (0, b""))
    if kind != 8 or not isinstance(version, bytes) or version.strip() != b"2.0":
        raise UnreadableError(f"version {version!r}")
    kind, size = keys.get(b"max-frame-size", (0, None))
    if kind not in (2, 3, 4, 5) or not isinstance(size, int) or not 256 <= size <= offered:
        raise UnreadableError(f"max-frame-size {size!r} for {offered} offered")
    kind, named = keys.get(b"capabilities", (0, None))
    if kind != 8 or not names(named) - {FRAGMENTATION} <= capabilities:
        raise UnreadableError(f"capabilities {named!r} for {capabilities} offered")
    return size, names(named)


def burst_bytes(size: int) -> int:
    """Half of the buffer of a HAProxy that offered at least ``size`` bytes: no more of it may be unread."""
    return (size + 4) // 2
