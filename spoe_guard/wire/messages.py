"""The payload of a NOTIFY: messages, each a name, a number of arguments, and the arguments.

Source: SPOE.txt 3.2.6 (NOTIFY), 3.1 (LIST-OF-MESSAGES).
"""

from spoe_guard.wire import kv, typed_data, walk


class Message:
    """One message of a NOTIFY."""

    __slots__ = ("args", "name")

    def __init__(self, name: bytes, args: list[kv.Pair]) -> None:
        self.name = name
        self.args = args


def parse(payload: bytes) -> list[Message] | None:
    """Return the messages of ``payload``, or None if they do not parse to the last byte."""
    end = len(payload)
    if walk.check_messages(payload, 0, end) != walk.OK:
        return None
    messages: list[Message] = []
    pos = 0
    while pos < end:
        after = walk.message_end(payload, pos, end)
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
