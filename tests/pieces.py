"""Feeds bytes to ``Pieces`` to their end, past all that is complete, and past the points where all is settled."""

from spoe_guard.core.incoming.agent.pieces import Pieces


def feed_all(pieces: Pieces, data: bytes) -> tuple[list[bytes], bool]:
    """Return the frames that ``data`` completes, and whether all of it made sense."""
    more, sane = pieces.feed(data)
    found = list(more)
    while sane and (more or pieces.paused or (pieces.settled and pieces.held)):
        more, sane = pieces.feed(b"")
        found += more
    return found, sane
