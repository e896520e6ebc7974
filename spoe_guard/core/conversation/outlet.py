"""The one ordered way out of a session to one connection."""


class ByteCounts:
    """What became of the bytes for one side: all of a session's agent links share one.

    ``forwarded`` counts bytes of the peer's that went on as they came, ``dropped`` those that did not,
    ``authored`` bytes that only the guard wrote. A repaired frame is dropped and authored. ``undelivered`` counts bytes that
    are booked as forwarded or authored and that their connection did not live to be written.
    """

    __slots__ = ("authored", "dropped", "forwarded", "undelivered")

    def __init__(self) -> None:
        self.forwarded = 0
        self.authored = 0
        self.dropped = 0
        self.undelivered = 0

    def forward(self, count: int) -> None:
        """Book ``count`` bytes that went on as they came."""
        self.forwarded += count

    def drop(self, count: int) -> None:
        """Book ``count`` bytes that go nowhere."""
        self.dropped += count

    def lose(self, count: int) -> None:
        """Book ``count`` bytes that were to be written and never will be."""
        self.undelivered += count


class Outlet:
    """Collects what one step of a session writes to one connection, and keeps the books.

    Once sealed nothing more goes out: that is what makes a DISCONNECT the last frame (promises H4 and A3).
    """

    __slots__ = ("_pieces", "books", "sealed")

    def __init__(self, books: ByteCounts | None = None) -> None:
        self._pieces: list[bytes] = []
        self.books = books or ByteCounts()
        self.sealed = False

    def forward(self, data: bytes) -> None:
        """Send on bytes as they came."""
        if self.sealed:
            self.books.drop(len(data))
            return
        self._pieces.append(data)
        self.books.forward(len(data))

    def author(self, data: bytes) -> bool:
        """Send bytes of the guard's own; False when it is too late for any."""
        if self.sealed:
            return False
        self._pieces.append(data)
        self.books.authored += len(data)
        return True

    def drop(self, count: int) -> None:
        """Book ``count`` bytes of the peer's that go nowhere."""
        self.books.drop(count)

    def put_back(self, data: bytes) -> None:
        """Let ``data``, which ``take`` returned before and which was not written, go first."""
        self._pieces.insert(0, data)

    def seal(self) -> None:
        """Let nothing more out."""
        self.sealed = True

    def take(self) -> bytes:
        """Return what was collected since the last call, in one piece for one write."""
        out = b"".join(self._pieces)  # of a single piece it is that piece itself, as the recorder would have it
        self._pieces.clear()
        return out
