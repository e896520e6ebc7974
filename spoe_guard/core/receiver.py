"""What every session can do that takes bytes often: compiled, a call of it is a C call whichever of them it is."""

from spoe_guard.core.anomalies import Side
from spoe_guard.core.output import Output


class Receiver:
    """``deadline``: monotonic seconds; ``tick`` is to be called no later."""

    __slots__ = ("deadline",)

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def receive(self, side: Side, data: bytes, now: float, link: int = 0) -> Output:
        """Bytes came from ``side``; from the agent on the link of that number."""
        raise NotImplementedError
