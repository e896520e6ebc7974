"""A long answer in pieces: made one by one, and sent one by one, so that nothing copies the whole of it while others wait."""

from typing import Final

PIECE: Final = 64 * 1024  # characters; a piece is as much and what was added last


class Pieces:
    """Text that grows, as bytes. It is true once something was added."""

    def __init__(self) -> None:
        self._done: list[bytes] = []
        self._texts: list[str] = []
        self._length = 0  # of these

    def __bool__(self) -> bool:
        return bool(self._texts or self._done)

    def add(self, text: str) -> None:
        """Add a text behind the others."""
        self._texts.append(text)
        self._length += len(text)
        if self._length >= PIECE:
            self._end_piece()

    def taken(self) -> list[bytes]:
        """Return all that was added."""
        self._end_piece()
        return self._done

    def _end_piece(self) -> None:
        if self._texts:
            self._done.append("".join(self._texts).encode())
            self._texts, self._length = [], 0
