"""A session in transit to the next guard: what that guard needs to resume it on the same connection."""

import json
from dataclasses import dataclass
from typing import Final

from spoe_guard.core.terms.family import Family

VERSION: Final = 1  # of the encoding below; a guard that does not know it refuses the session


class NotTakenError(Exception):
    """Why a session cannot be resumed here, in a few words."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A session with nothing open.

    ``hello``: HAPROXY-HELLO as received. ``size``: the max-frame-size HAProxy got, in bytes behind the length prefix;
    ``one_at_a_time``: HAProxy may send only one NOTIFY at a time. ``family``: the HAProxy version family, as far as known.
    ``rest``: the received part of an incomplete frame.
    """

    hello: bytes
    size: int
    one_at_a_time: bool
    family: Family
    rest: bytes

    def encode(self) -> bytes:
        """Return it for another guard, as JSON."""
        fields = {
            "version": VERSION,
            "hello": self.hello.hex(),
            "size": self.size,
            "one_at_a_time": self.one_at_a_time,
            "family": self.family.value,
            "rest": self.rest.hex(),
        }
        return json.dumps(fields).encode()


def decode(raw: bytes) -> Handed:
    """Return the session that ``encode`` encoded.

    Raises:
        NotTakenError: ``raw`` is something else, or has another version.
    """
    try:
        read = json.loads(raw)
        if read["version"] != VERSION:
            raise NotTakenError(f"version {read['version']!r}")
        return Handed(
            bytes.fromhex(read["hello"]),
            int(read["size"]),
            bool(read["one_at_a_time"]),
            Family(read["family"]),
            bytes.fromhex(read["rest"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise NotTakenError(f"not readable: {error!r}") from None
