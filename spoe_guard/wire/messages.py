"""The payload of a NOTIFY: messages, each a name, a number of arguments, and the arguments.

Source: SPOE.txt 3.2.6 (NOTIFY), 3.1 (LIST-OF-MESSAGES).
"""

from typing import TYPE_CHECKING, Final

from spoe_guard.wire import kv, typed_data

if TYPE_CHECKING:
    from mypy_extensions import i64

OK: Final = 0


class Message:
    """One message of a NOTIFY."""

    __slots__ = ("args", "name")

    def __init__(self, name: bytes, args: list[kv.Pair]) -> None:
        self.name = name
        self.args = args


def check(buf: bytes, pos: "i64", end: "i64") -> "i64":
    """Return ``OK`` when the messages parse to the last byte, else the negative fault. No message at all is OK."""
    while pos < end:
        pos = skip_message(buf, pos, end)
        if pos < 0:
            return pos
    return OK


def skip_message(buf: bytes, pos: "i64", end: "i64") -> "i64":
    """Return the position behind the message at ``pos``, or a negative fault."""
    pos = typed_data.skip_string(buf, pos, end)
    if pos < 0:
        return pos
    if pos >= end:
        return typed_data.MALFORMED
    count: i64 = buf[pos]
    pos += 1
    while count > 0:
        pos = kv.skip_pair(buf, pos, end)
        if pos < 0:
            return pos
        count -= 1
    return pos


def parse(payload: bytes) -> list[Message] | None:
    """Return the messages of ``payload``, or None when they do not parse to the last byte."""
    end = len(payload)
    if check(payload, 0, end) != OK:
        return None
    messages: list[Message] = []
    pos = 0
    while pos < end:
        after = skip_message(payload, pos, end)
        name, at = typed_data.decode_string(payload, pos, end)
        args, _ = kv.parse(payload, at + 1, after)
        messages.append(Message(name, args))
        pos = after
    return messages


def encode(messages: list[Message]) -> bytes:
    """Return the payload for ``messages``.

    Raises:
        ValueError: a message has more than 255 arguments.
    """
    return b"".join(typed_data.encode_string(m.name) + bytes((len(m.args),)) + kv.encode(m.args) for m in messages)
