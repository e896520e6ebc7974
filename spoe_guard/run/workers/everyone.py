"""The workers as `spoe-guard ctl` asks them."""

from collections.abc import Sequence

from spoe_guard.run.control import Answers
from spoe_guard.run.workers.channel import Message
from spoe_guard.run.workers.pool import WorkerPool


class Pooled:
    """All workers, as ``run.control.Everyone``. ``drained``: the routes on which one that starts later is to accept nothing."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self.drained: set[str] = set()

    def numbers(self) -> Sequence[int]:
        """Return the numbers of all that there are to be: one that is being restarted does not answer."""
        return range(1, self._pool.count + 1)

    async def ask(self, what: str, given: Message, more_s: float = 0.0) -> Answers:
        """Ask each of them."""
        return await self._pool.ask(what, given, more_s)

    def keep_drained(self, route: str, *, drained: bool) -> None:
        """Note it for workers that start later."""
        if drained:
            self.drained.add(route)
        else:
            self.drained.discard(route)
