"""How the parent has its workers take on other settings: all of them, or none."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from spoe_guard.address import Address
from spoe_guard.net.bind import Bound, ListenError, bind
from spoe_guard.net.opening import Opening
from spoe_guard.net.route import Route
from spoe_guard.observe.logs import Log
from spoe_guard.run.process import allow_open_files, routes_in_slices
from spoe_guard.run.serve import look_up_new, new_circles
from spoe_guard.run.workers.pool import WorkerPool
from spoe_guard.run.workers.telling import Told, told
from spoe_guard.settings import Settings

MORE_S: Final = 8.0  # on top of what any question may take, for a thousand routes
_THERE_S: Final = 2.0  # for a worker that is being started
_LEFT: Final = "its sockets can be opened for all workers or for none; reload again when it is there"


class Changing:
    """``taken``: the sockets, by the name of their route. ``told``: the settings for a worker that starts now.

    ``alone`` is to be held while a worker is started: it is to have all routes of before, or all of after.
    """

    def __init__(
        self, taken: Mapping[str, Bound], told: Told, count: int, handover: Path | None, log: Log, *, shares: bool
    ) -> None:
        self.taken = taken
        self.told = told
        self.alone = asyncio.Lock()
        self._count = count
        self._handover = handover
        self._log = log
        self._shares = shares
        self._opening: Opening | None = None
        self._prepared: list[int] = []  # workers that have the sockets, and do not use them yet

    @classmethod
    async def of(cls, settings: Settings, taken: Sequence[Bound], count: int, handover: Path | None, log: Log) -> "Changing":
        """Return it for a guard that begins with these settings."""
        by_name = {bound.route.name: bound for bound in taken}
        return cls(by_name, await told(settings, by_name, handover), count, handover, log, shares=settings.share_listen)

    def addresses(self) -> dict[str, Address]:
        """Return where each route listens."""
        return {name: bound.address for name, bound in self.taken.items()}

    async def try_out(self, pool: WorkerPool, running: Settings, new: Settings) -> Sequence[str]:
        """Open what ``new`` needs, in every worker; return the reasons why it cannot be used: then nothing has changed."""
        allow_open_files(new, self._count * (1 + len(new.routes)))
        routes = await routes_in_slices(new)
        looked_up = await look_up_new(self._log, running, new, routes)
        if looked_up.faults:
            return looked_up.faults
        await self.alone.acquire()
        try:
            self._opening = opening = self._new(routes)
            await opening.open(self._bind)
            why = [*await new_circles(routes, looked_up, opening.own)]
            if not why and opening.is_needed:
                why += await self._lend(pool, routes, new)
        except ListenError as error:
            why = [str(error)]
        except BaseException:
            await self._give_up(pool)
            raise
        if why:
            await self._give_up(pool)
        return why

    async def use(self, pool: WorkerPool, new: Settings) -> Sequence[Route]:
        """Use settings that were tried out, or that need nothing to be opened; return their routes."""
        opening, self._opening = self._opening, None
        if opening is None:
            routes = await routes_in_slices(new)
            opening = self._new(routes)
            await opening.open(self._bind)
            await self.alone.acquire()
        try:
            await self._take(opening, new)
            if opening.is_needed:
                await pool.ask("use", {}, MORE_S)
                self._prepared.clear()
            else:
                await pool.reload(self.told)
        finally:
            self.alone.release()
        return opening.routes

    def _new(self, routes: Sequence[Route]) -> Opening:
        return Opening(routes, {name: [bound] for name, bound in self.taken.items()}, shares=self._shares, several=True)

    async def _bind(self, route: Route, share: bool) -> list[Bound]:  # noqa: FBT001  as ``Opening`` has it
        return [await bind(route, reuse_port=share, reserve=self._count)]

    async def _lend(self, pool: WorkerPool, routes: Sequence[Route], new: Settings) -> list[str]:
        """Give every worker its sockets, to listen on; return why not, if not all of them do."""
        opening = self._opening
        assert opening is not None  # noqa: S101  it was just made
        for worker in pool.workers:
            await asyncio.wait((worker.listening,), timeout=_THERE_S)
        workers = [worker for worker in pool.workers if worker.listens]
        if len(workers) < self._count:
            there = {worker.number for worker in workers}
            missing = min(number for number in range(1, self._count + 1) if number not in there)
            return [f"worker {missing} is being started: {_LEFT}"]
        after = {route.name: opening.sockets(route.name)[0] for route in routes}
        prepare = await told(new, after, self._handover)
        counts = {name: len(bounds[0].socks) for name, bounds in opening.opened.items()}
        for worker in workers:
            own_first = [each for bounds in opening.opened.values() for each in own_first_of(bounds[0], worker.number)]
            try:
                worker.lend(own_first)
            except OSError as error:
                return [f"worker {worker.number} cannot be given sockets: {error.strerror}"]
            self._prepared.append(worker.number)
        answers = await pool.ask("prepare", {"settings": prepare.settings, "sockets": counts}, MORE_S, prepare.parts)
        for worker in workers:
            answer: dict[str, Any] = answers.get(worker.number, {"error": "it does not answer"})
            if "error" in answer:
                return [f"worker {worker.number}: {answer['error']}"]
        return []

    async def _give_up(self, pool: WorkerPool) -> None:
        opening, self._opening = self._opening, None
        try:
            if self._prepared:
                self._prepared.clear()
                await pool.ask("give_up")
        finally:
            if opening is not None:
                opening.close()
            self.alone.release()

    async def _take(self, opening: Opening, new: Settings) -> None:
        """Have the sockets of after. Those that end are closed here first, as at a stop: the last worker takes what is queued."""
        names = [route.name for route in new.routes]
        after = {name: opening.sockets(name)[0] for name in names}
        stay = {id(bound) for bound in after.values()}
        for bound in self.taken.values():
            if id(bound) not in stay:
                bound.close()
        for route in opening.routes:
            after[route.name].route = route
        self.taken = after
        self.told = await told(new, after, self._handover)


def own_first_of(bound: Bound, number: int) -> list[int]:
    """Return the descriptors of ``bound`` in the order ``borrow`` expects: worker ``number``'s own first."""
    at = (number - 1) % len(bound.socks)
    return [sock.fileno() for sock in (*bound.socks[at:], *bound.socks[:at])]
