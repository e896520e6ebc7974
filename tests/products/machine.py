"""A machine on which an agent runs behind HAProxy as it is shipped, and what a page changes there."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import yaml

from tests.integration.app import App
from tests.integration.generations import Generation
from tests.integration.guard import Guard
from tests.integration.haproxy import Haproxy, Options, Seen, wait_until
from tests.integration.load import Load
from tests.integration.stage import Stage
from tests.products.page import Page

SHIPPED: Final = Path(__file__).parent / "shipped"
LUA: Final = "/usr/lib/crowdsec-haproxy-spoa-bouncer/lua"
SITE: Final = "127.0.0.1:8081"
LOAD_S: Final = 20.0
BROWSER: Final = MappingProxyType({"Host": "shop.example", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Accept": "*/*"})


def wait_answered(load: Load, more: int) -> None:
    """Wait until so many more requests were asked, and until all of before are answered: a NOTIFY goes to no third agent."""
    before = set(load.asked_at.copy())
    wait_until(lambda: load.asked() >= len(before) + more, f"{more} more requests", LOAD_S)
    wait_until(lambda: before <= load.seen.keys(), "what was asked before is answered", LOAD_S)


class Site(Haproxy):
    """HAProxy with files of a product. ``client_of``: the address that a request for a path comes from."""

    def __init__(
        self, folder: Path, files: tuple[str, str], program: str, client_of: Callable[[str], str] = lambda _path: "127.0.0.1"
    ) -> None:
        self.main, self.spoe = files
        self._client_of = client_of
        super().__init__(folder, "", Options(program=program))

    def _serves(self) -> bool:
        assert self.process.poll() is None, self.log()
        return self.get("/").status != 0

    def get(self, path: str, headers: Mapping[str, str] = BROWSER, client: str = "") -> Seen:
        return super().get(path, headers, client or self._client_of(path))


class Machine:
    """``product``: a folder of ``shipped``. ``at``: the HAProxy. ``agents``: where each really is, by its address on the page.

    ``files``: those of HAProxy by their paths, with the addresses of the page, which are exchanged when HAProxy starts.
    """

    def __init__(self, stage: Stage, product: str, at: Generation, agents: Mapping[str, str]) -> None:
        self._stage = stage
        self._at = at
        self._exchanged = {**agents, SITE: stage.enter(App()).address}
        self.lua = SHIPPED / product
        self.files = {f"/etc/haproxy/{path.name}": path.read_text() for path in (SHIPPED / product).iterdir()}
        [self._engine] = [path for path in self.files if not path.endswith(("haproxy.cfg", ".lua"))]

    def apply(self, diff: str, *, back: bool = False) -> None:
        """Apply a change that the page shows, or take it back. Every line of it must fit.

        Raises:
            CalledProcessError: it does not.
        """
        folder = self._stage.folder()
        for path, text in self.files.items():
            (folder / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.lstrip("/")).write_text(text)
        command = ["git", "apply", "-p1", *(["--reverse"] if back else []), "-"]
        subprocess.run(command, cwd=folder, input=diff, text=True, check=True, timeout=20)
        self.files = {path: (folder / path.lstrip("/")).read_text() for path in self.files}

    def guard(self, settings: str, program: Sequence[str] | None = None, **how: str) -> Guard:
        """Start the guard with the page's settings; ``how``: settings that come before them, in words of the environment.

        ``program``: as ``Guard`` has it.
        """
        folder = self._stage.folder()
        routes = yaml.safe_load(settings)["routes"]
        for theirs, ours in self._exchanged.items():
            settings = settings.replace(theirs, ours)
        for route in routes:
            ours = f"unix:{folder}/{route['name']}" if route["listen"].startswith("unix:") else "127.0.0.1:0"
            settings = settings.replace(route["listen"], ours)
        (folder / "spoe-guard.yaml").write_text(settings)
        guard = self._stage.guard(None, config=folder / "spoe-guard.yaml", program=program, settings=how)
        self._exchanged |= {route["listen"]: guard.addresses[route["name"]] for route in routes}
        return guard

    def guard_and_back(
        self, page: Page, titles: Sequence[str], statuses: Callable[[Site], list[int]], expected: list[int], *, notifies: int
    ) -> None:
        """Make the page's changes of the shipped files with these titles, and take them back: they are as they were.

        In between HAProxy answers as ``expected``, and the guard sees nothing wrong and at least so many NOTIFYs answered.
        """
        shipped = self.files
        for title in titles:
            self.apply(page.block("diff", title))
        guard = self.guard(page.block("yaml", "/etc/spoe-guard/spoe-guard.yaml"))
        assert statuses(self.haproxy()) == expected
        assert not guard.anomalies()
        assert guard.metric("spoe_guard_notify_ack_seconds_count") >= notifies
        for title in reversed(titles):
            self.apply(page.block("diff", title), back=True)
        assert self.files == shipped

    def haproxy(self, client_of: Callable[[str], str] = lambda _path: "127.0.0.1") -> Site:
        """Start HAProxy with its files as they are now."""
        main = self.files["/etc/haproxy/haproxy.cfg"]
        for theirs, ours in {**self._exchanged, LUA: str(self.lua), "{": "{{", "}": "}}"}.items():
            main = main.replace(theirs.replace("unix:", "unix@"), ours)
        main = main.replace(self._engine, "{folder}/spoe.conf").replace("bind *:", "bind fd@{web_fd} #")
        engine = self.files[self._engine].replace("{", "{{").replace("}", "}}")
        return self._stage.enter(Site(self._stage.folder(), (main, engine), self._at.program, client_of))
