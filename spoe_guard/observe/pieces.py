"""A long answer in pieces: made one by one, and sent one by one, so that nothing copies the whole of it while others wait."""

from typing import Final

PIECE: Final = 64 * 1024  # characters; a piece is as much and what was added last
_BLOCK: Final = 16 * 1024 * 1024  # bytes


def keep_freed_memory() -> None:
    """Have the C library keep what an answer leaves free, up to 32 MiB, for the next one.

    By itself glibc gives it back to the kernel, which takes it for the next answer page by page, and zeroes it: of 1,000 routes
    that is 9 MB, and 2,300 page faults, of up to 13 us on a virtual machine. Once a large block was freed, it keeps twice as much
    as that block was. Nothing writes to this one, so it takes no memory. Another C library has its own rules.

    Source: mallopt(3), M_MMAP_THRESHOLD.
    """
    bytes(_BLOCK)


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
