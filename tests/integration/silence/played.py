"""Plays the rows, each once for all tests of a process, and says what must hold of them."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.integration import generations
from tests.integration.generations import Generation
from tests.integration.silence import seen
from tests.integration.silence.cast import ANSWERED, UNCHECKED, Cast
from tests.integration.silence.row import WITHOUT, Result, Row, Way
from tests.integration.silence.scraper import Scraper
from tests.integration.silence.table import TABLE
from tests.integration.stage import Stage
from tests.peers import need

WHOLE: Final = seen.folder() is not None
# By so much the guard may be slower, on the median and at most: a short run is not alone on its machine.
SLOWER_S: Final = (0.02, 0.02) if WHOLE else (0.2, 1.0)


def cases(ids: str) -> list[tuple[str, str]]:
    """Return row and HAProxy of each scene that this run plays of the rows whose ids begin so."""
    return [
        (row.id, at)
        for row in TABLE.values()
        for at in (row.on if WHOLE else row.quickly_on)
        if at in row.on and row.id.startswith(ids)
    ]


class Players:
    """Plays each row at each HAProxy once, for all tests. ``folder`` makes a new folder."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._played: dict[tuple[str, str], dict[str, Result]] = {}
        self._scraper = Scraper(folder)

    def play(self, id_: str, at: str) -> dict[str, Result]:
        """Return what came of that row at that HAProxy, by way."""
        if (id_, at) not in self._played:
            need("prometheus")
            row, generation = TABLE[id_], generations.find(at)
            with ThreadPoolExecutor(1 if WHOLE else 2) as side_by_side:
                plays = {way.name: side_by_side.submit(self._play, row, way, generation) for way in row.ways}
            self._played[id_, at] = {name: play.result() for name, play in plays.items()}
            seen.keep(id_, at, self._played[id_, at])
        return self._played[id_, at]

    def _play(self, row: Row, way: Way, generation: Generation) -> Result:
        with Stage(self._folder()) as stage:
            cast = Cast(stage, self._scraper, row, way, generation, whole=WHOLE)
            try:
                row.play(cast)
                return cast.end()
            except AssertionError as error:
                error.add_note(f"{row.id}, HAProxy {generation.name}, {way.name}: {cast.result}\n{cast.logs()}")
                raise

    def close(self) -> None:
        """End the Prometheus."""
        self._scraper.close()


def worse(row: Row, results: dict[str, Result]) -> Iterator[str]:
    """Say where the guard made it worse: slower, open where it was closed, or beyond what the row allows."""
    without = results.get(WITHOUT)
    for way in row.ways:
        got = results[way.name]
        if way.settings is None:
            continue
        strange = got.got.keys() - {ANSWERED, UNCHECKED} - {each for each in got.got if each.startswith("failed closed")}
        if strange:
            yield f"{way.name}: {strange}"
        if row.answered and got.got.keys() != {ANSWERED}:
            yield f"{way.name}: {dict(got.got)}, and each can be answered"
        for name, most in {**row.most, **way.most}.items():
            if got.figures[name] > most:
                yield f"{way.name}: {name} {got.figures[name]:g}, at most {most:g}"
        counted = got.figures.get("counted as unchecked")
        if counted is not None and counted != got.got[UNCHECKED]:
            yield f"{way.name}: {got.got[UNCHECKED]} unchecked, {counted:g} counted"
        if without is None:
            continue
        if UNCHECKED in got.got and UNCHECKED not in without.got and not way.opens:
            yield f"{way.name}: {got.got[UNCHECKED]} unchecked"
        median, slowest = ("median", got.p50, without.p50), ("slowest", got.slowest, without.slowest)
        for (what, with_it, without_it), slower_s in zip((median, slowest), SLOWER_S, strict=True):
            if with_it > without_it + slower_s + way.waits:
                yield f"{way.name}: {what} {with_it:.3f} s, without the guard {without_it:.3f} s"


def unsaid(row: Row, results: dict[str, Result]) -> Iterator[str]:
    """Say where the five surfaces did not say what they had to, or not in time, or not at the same time."""
    for way in row.ways:
        for moment, one_of in {**row.says, **way.says}.items():
            if way.settings is not None and one_of and moment not in results[way.name].said:
                yield f"{way.name}, {moment}: {results[way.name].unsaid.get(moment, 'nobody listened')}"
