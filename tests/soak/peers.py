"""HAProxy with two SPOE agents, and clients that send requests until told to pause."""

import itertools
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.integration.haproxy import MAIN, SPOE, Haproxy, Options, Seen

PROCESSING = "300ms"  # of the fuzzing agent: most of its plays leave NOTIFYs open
GOOD_PROCESSING = "2s"  # the good one's; what takes longer did not succeed

_FILTER = "    filter spoe engine guarded config {folder}/spoe.conf\n"
_GOOD_SPOE = """
[good]
spoe-agent good
    messages ask
    option var-prefix good
    option set-on-error error
    timeout hello 2s
    timeout idle 10s
    timeout processing {processing}
    use-backend good
    log global
spoe-message ask
    args path=path
    event on-frontend-http-request if {{{{ path_beg /good }}}}
"""


class TwoAgents(Haproxy):
    """Paths under /good ask the good agent, which sets ``verdict``; all others the one at ``agent``."""

    def __init__(self, folder: Path, agent: str, good: str, program: str) -> None:
        main = MAIN.replace(_FILTER, _FILTER + _FILTER.replace("guarded", "good"))
        main = main.replace("%[var(txn.guarded.verdict)]", "%[var(txn.good.verdict)]")
        main = main.replace("%[var(txn.guarded.error)]", "%[var(txn.good.error)]%[var(txn.guarded.error)]")
        main = main.replace("%[var(txn.guarded.echo)]", "%[var(txn.guarded.verdict)]")
        self.main = main + f"backend good\n    mode {{mode}}\n    server agent {good}\n"
        assert self.main.count("engine good") == self.main.count("var(txn.good.verdict)") == 1
        spoe = SPOE.replace("if !{{ path /ready }}", "if {{ path_beg /bad }}")
        assert spoe != SPOE
        self.spoe = spoe + _GOOD_SPOE.format(processing=GOOD_PROCESSING)
        super().__init__(folder, agent, Options(processing=PROCESSING, program=program))


class Clients:
    """So many threads ask for one path after another below ``root``, each ``pause_s`` behind the answer to the last."""

    def __init__(self, haproxy: Haproxy, root: str, count: int, pause_s: float) -> None:
        self.seen: Counter[str] = Counter()
        self.failed: list[tuple[str, Seen]] = []
        self._haproxy, self._root, self._pause_s = haproxy, root, pause_s
        self._numbers = itertools.count(1)
        self._go, self._over = threading.Event(), threading.Event()
        self._asking = 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]

    def _ask(self) -> None:
        while not self._over.is_set():
            self._go.wait()
            with self._lock:
                self._asking += 1
                path = f"{self._root}/{next(self._numbers)}"
            seen = self._haproxy.get(path)
            with self._lock:
                self._asking -= 1
                self._note(path, seen)
            time.sleep(self._pause_s)

    def _note(self, path: str, seen: Seen) -> None:
        if seen.status != 200:
            self.seen["none"] += 1
            self._over.set()  # nobody there any more: what there is to see has been seen
        else:
            self.seen["ok" if path in (seen.verdict, seen.echo) else f"st={seen.error}" if seen.error else "not set"] += 1
        if path != seen.verdict or seen.status != 200:
            self.failed = [*self.failed[-99:], (path, seen)]

    def go(self) -> None:
        self._go.set()

    def pause(self) -> None:
        """Let nobody ask anything new; ``quiet`` once everybody has the last answer."""
        self._go.clear()

    @property
    def quiet(self) -> bool:
        return self._asking == 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._over.set()
        self._go.set()
        for thread in self._threads:
            thread.join()
