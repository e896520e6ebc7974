"""The only ordered path from a session to one connection."""


class ByteCounts:
    """Counts the bytes for one side by what happened to them; all agent links of a session share one.

    ``forwarded`` counts bytes of the peer that were sent unchanged, ``dropped`` those that were not, ``authored`` bytes that the
    guard wrote. A repaired frame counts as dropped and authored. ``undelivered`` counts bytes that were counted as forwarded or
    authored but whose connection ended before they were written.
    """

    __slots__ = ("authored", "dropped", "forwarded", "undelivered")

    def __init__(self) -> None:
        self.forwarded = 0
        self.authored = 0
        self.dropped = 0
        self.undelivered = 0

    def forward(self, count: int) -> None:
        """Count ``count`` bytes as sent unchanged."""
        self.forwarded += count

    def author(self, count: int) -> None:
        """Count ``count`` bytes as the guard's own."""
        self.authored += count

    def drop(self, count: int) -> None:
        """Count ``count`` bytes as dropped."""
        self.dropped += count

    def lose(self, count: int) -> None:
        """Count ``count`` bytes that were to be written and never will be."""
        self.undelivered += count


class Outlet:
    """Collects what one step of a session writes to one connection, and counts the bytes.

    Once sealed nothing more goes out: that is what makes a DISCONNECT the last frame (promises H4 and A3).
    """

    __slots__ = ("_pieces", "books", "sealed")

    def __init__(self, books: ByteCounts | None = None) -> None:
        self._pieces: list[bytes] = []
        self.books = books or ByteCounts()
        self.sealed = False

    def forward(self, data: bytes) -> None:
        """Send bytes of the peer unchanged."""
        if self.sealed:
            self.books.drop(len(data))
            return
        self._pieces.append(data)
        self.books.forward(len(data))

    def author(self, data: bytes) -> bool:
        """Send bytes of the guard's own; False if it is too late."""
        if self.sealed:
            return False
        self._pieces.append(data)
        self.books.author(len(data))
        return True

    def drop(self, count: int) -> None:
        """Count ``count`` bytes of the peer as dropped."""
        self.books.drop(count)

    def put_back(self, data: bytes) -> None:
        """Put ``data``, which ``take`` returned and which was not written, in front."""
        self._pieces.insert(0, data)

    def seal(self) -> None:
        """Accept no more bytes."""
        self.sealed = True

    def take(self) -> bytes:
        """Return what was collected since the last call, in one piece for one write."""
        out = b"".join(self._pieces)  # a single piece is returned as the same object, which the recorder makes use of
        self._pieces.clear()
        return out
