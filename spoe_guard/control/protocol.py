"""The two sides' common words: one JSON object a line; a request, then its items, if it has any, and the result.

A request is ``{"do": COMMAND, ...}``; an item ``{"item": ...}``; the result ``{"ok": true, "answer": ...}`` or
``{"ok": false, "error": TEXT}``. A connection carries one request.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

Message = dict[str, Any]

MAX_REQUEST_BYTES: Final = 4096  # of the line, with its end
MAX_REPLY_BYTES: Final = 64 * 1024 * 1024  # of a line: /api/status of a thousand routes takes ten MiB

_SLICE: Final = 20  # entries of a list


class RefusedError(Exception):
    """What was asked for cannot be done. The text says why and what to do, in one line."""


def encode(message: Message) -> bytes:
    """Return ``message`` as a line."""
    return json.dumps(message).encode() + b"\n"


def in_parts(answer: object) -> Iterator[bytes]:
    """Yield the line of a result in parts, so that others have their turn in between: an answer may hold thousands of rows."""
    yield b'{"ok": true, "answer": '
    if not isinstance(answer, dict):
        yield json.dumps(answer).encode()
    else:
        before = b"{"
        for key, value in answer.items():
            yield before + json.dumps(key).encode() + b": "
            before = b", "
            if isinstance(value, list):
                slices = (json.dumps(value[at : at + _SLICE])[1:-1].encode() for at in range(0, len(value), _SLICE))
                yield b"["
                for at, part in enumerate(slices):
                    yield b", " + part if at else part
                yield b"]"
            else:
                yield json.dumps(value).encode()
        yield b"}" if answer else b"{}"
    yield b"}\n"


def decode(line: bytes) -> Message | None:
    """Return what a line says; None if it is no JSON object, or not a whole line."""
    try:
        message = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None
