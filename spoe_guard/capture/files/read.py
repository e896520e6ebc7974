"""Reads a capture from any supported form: pcapng, raw bytes, hex, or recorded streams in JSON."""

import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from spoe_guard.capture.files import pcapng_in
from spoe_guard.capture.files.cut import Cut, Cutter
from spoe_guard.capture.files.model import MOST_CHUNKS, Capture, CaptureError, Chunk, End
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.wire import frame, walk

# What is read is kept in memory, in a form that may take several times as much.
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_LINE_BYTES: Final = 4 * 1024 * 1024  # of JSON, whose values may take twenty times as much
STDIN: Final = "-"
_SLICE_BYTES: Final = 64 * 1024

_PCAP: Final = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d")
_TEXT: Final = re.compile(rb"\S")
_HEX_DIGITS: Final = b"0123456789abcdefABCDEF"
_BETWEEN_DIGITS: Final = b" \t\n\r\v\f:,"


def read(source: str) -> list[Capture]:
    """Return the conversations in the file ``source``, ``-`` for standard input.

    Raises:
        CaptureError: it cannot be read, or has none of the supported forms.
    """
    try:
        if source == STDIN:
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        return parse(data)
    except OSError as error:
        raise CaptureError(f"{source}: cannot be read: {error.strerror}") from None
    except CaptureError as error:
        raise CaptureError(f"{source}: {error}") from None


def parse(data: bytes) -> list[Capture]:
    """Return the conversations in ``data``, in any supported form.

    Raises:
        CaptureError: it has none of the forms.
    """
    if len(data) > MAX_FILE_BYTES:
        raise CaptureError(f"larger than {MAX_FILE_BYTES} bytes")
    text = _TEXT.search(data)
    if text is None:
        raise CaptureError("empty")
    if data.startswith(pcapng_in.MAGIC):
        return pcapng_in.load(data)
    if data.startswith(_PCAP):
        raise CaptureError("an old pcap file; `editcap -F pcapng` makes a pcapng file of it")
    if text[0] == b"{":
        return list(_records(data))
    digits = data.replace(b"\\x", b"").replace(b"0x", b"").translate(None, _BETWEEN_DIGITS)
    if not digits.translate(None, _HEX_DIGITS):
        if len(digits) % 2:
            raise CaptureError("hex with an odd number of digits")
        data = bytes.fromhex(digits.decode())
    return [_raw(data)]


def _raw(data: bytes) -> Capture:
    """Assign each whole frame to the side that may send its type, and other bytes to the side of the frame before."""
    cutter = Cutter()
    cuts: list[Cut] = []
    for at in range(0, len(data), _SLICE_BYTES):
        cuts += cutter.feed(data[at : at + _SLICE_BYTES])
        if len(cuts) > MOST_CHUNKS:
            raise CaptureError(f"more than {MOST_CHUNKS} frames; `split -b` makes several files of it")
    cuts += cutter.finish()
    known = [cut.frame.type for cut in cuts if cut.frame is not None and cut.frame.type in frame.TYPE_NAMES]
    if not known:
        raise CaptureError("neither pcapng, hex nor JSON, and no SPOP frame at its beginning")
    side = Side.AGENT if known[0] in frame.AGENT_TYPES else Side.HAPROXY
    capture = Capture(timed=False, note="bytes without times; a frame is taken for that of the side that may send it")
    for cut in cuts:
        if cut.frame is not None and cut.frame.type in frame.AGENT_TYPES:
            side = Side.AGENT
        elif cut.frame is not None and cut.frame.type in frame.HAPROXY_TYPES and cut.frame.type != frame.UNSET:
            side = Side.HAPROXY
        capture.chunks.append(Chunk(0.0, side, 0, inward=True, data=cut.raw))
    return capture


def _records(data: bytes) -> Iterator[Capture]:
    chunks = 0
    for number, line in enumerate(io.BytesIO(data), 1):
        if len(line) > MAX_LINE_BYTES:
            raise CaptureError(f"line {number}: longer than {MAX_LINE_BYTES} bytes")
        if not line.strip():
            continue
        try:
            capture = _record(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            wrong = f"{type(error).__name__}: {error}"
            raise CaptureError(f"line {number}: expected from_haproxy and from_agent in hex ({wrong})") from None
        chunks += len(capture.chunks)
        if chunks > MOST_CHUNKS:
            raise CaptureError(f"line {number}: more than {MOST_CHUNKS} segments in all; `split -l` makes several files of it")
        yield capture


def _record(record: dict[str, object]) -> Capture:
    """Order both sides by what is certain: HELLO, HELLO, then all of HAProxy's frames, then all of the agent's."""
    asked, answered = bytes.fromhex(str(record["from_haproxy"])), bytes.fromhex(str(record["from_agent"]))
    sizes = record.get("segments") or [len(answered)]
    if not isinstance(sizes, list) or any(not isinstance(size, int) or size < 1 for size in sizes) or sum(sizes) != len(answered):
        raise ValueError("segments that do not add up to from_agent")
    words = (str(record[name]) for name in ("id", "agent", "recorded_end") if name in record)
    capture = Capture(timed=False, note="; ".join(words))
    hello, answer_hello = _first(asked), _first(answered)
    capture.chunks = [Chunk(0.0, Side.HAPROXY, 0, inward=True, data=asked[:hello])]
    rest = Chunk(0.0, Side.HAPROXY, 0, inward=True, data=asked[hello:])
    at = 0
    for size in sizes:
        for start, end in _without_hello(at, at + size, answer_hello):
            capture.chunks.append(Chunk(0.0, Side.AGENT, 0, inward=True, data=answered[start:end]))
            if end == answer_hello and rest.data:
                capture.chunks.append(rest)
        at += size
    capture.chunks.append(Chunk(0.0, Side.AGENT, 0, inward=True, end=End.FIN))
    return capture


def _without_hello(start: int, end: int, hello: int) -> list[tuple[int, int]]:
    """Split a segment in which the HELLO ends."""
    return [(start, hello), (hello, end)] if start < hello < end else [(start, end)]


def _first(data: bytes) -> int:
    """Return the offset at which the first frame ends."""
    return min(frame.LENGTH_BYTES + walk.length_at(data, 0), len(data)) if len(data) >= frame.LENGTH_BYTES else len(data)
