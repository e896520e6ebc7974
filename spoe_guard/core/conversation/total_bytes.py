"""What all sessions of the process hold back together, and its bound."""

import math
from collections.abc import Callable


class TotalBytes:
    """Counts the bytes that sessions keep of their peers. ``most``: the bound, infinity for none. ``beside``: those nobody adds.

    ``full`` is called each time ``held`` has grown and is beyond ``most``, in the middle of a session's step: it must not call
    that session, or any other.
    """

    __slots__ = ("_full", "beside", "held", "most")

    def __init__(self, most: float = math.inf, full: Callable[[], None] = lambda: None) -> None:
        self.held = 0
        self.beside = 0
        self.most = most
        self._full = full

    @property
    def beyond(self) -> bool:
        """Whether more is held back than ``most``."""
        return self.held + self.beside > self.most

    def limit(self, most: float) -> None:
        """Set the bound; it is applied when ``held`` grows again."""
        self.most = most

    def count_beside(self, count: int) -> None:
        """Set how many bytes are kept beside those that were added."""
        self.beside = count

    def add(self, count: int) -> None:
        """Count ``count`` bytes more, or fewer where it is negative."""
        self.held += count
        if count > 0 and self.beyond:
            self._full()
