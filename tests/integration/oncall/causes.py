"""How the incidents come and go: each is given the cast of its route."""

import resource
from pathlib import Path
from typing import Final

from tests.integration.oncall.incident import Cast
from tests.integration.oncall.turning import TurningAgent

NAME: Final = "agent.test"
SPARE: Final = 4  # descriptors that are left to the guard


def kill(cast: Cast) -> None:
    """SIGKILL."""
    cast.process.kill()


def start(cast: Cast) -> None:
    """Start it again."""
    cast.process.start()


def stand_still(cast: Cast) -> None:
    """SIGSTOP."""
    cast.process.stand_still()


def go_on(cast: Cast) -> None:
    """SIGCONT."""
    cast.process.go_on()


def go_wrong(cast: Cast) -> None:
    """The agent commits its fault from now on."""
    _turning(cast).wrong = True


def behave(cast: Cast) -> None:
    """It does so no more."""
    _turning(cast).wrong = False


def start_wrong(cast: Cast) -> None:
    """The agent is another one that goes wrong; those who are connected have to connect again."""
    go_wrong(cast)
    _turning(cast).drop()


def ask_too_much(cast: Cast) -> None:
    """Some requests do not fit."""
    cast.odd = True


def ask_less(cast: Cast) -> None:
    """They do again."""
    cast.odd = False


def crowd_comes(cast: Cast) -> None:
    """Many more clients ask."""
    cast.crowd_comes()


def crowd_leaves(cast: Cast) -> None:
    """They do so no more."""
    cast.crowd_leaves()


def lose_the_name(cast: Cast) -> None:
    """No resolver knows the agent any more, and it is elsewhere."""
    assert cast.hosts is not None
    cast.hosts.know()
    _turning(cast).drop()


def find_the_name(cast: Cast) -> None:
    """It is known again."""
    assert cast.hosts is not None
    cast.hosts.know(NAME)


def take_descriptors(cast: Cast) -> None:
    """Leave the guard a few descriptors beside those that it has, while HAProxy wants more connections."""
    assert cast.guard is not None
    pid = cast.guard.process.pid
    used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + SPARE, most))
    cast.crowd_comes()


def give_descriptors(cast: Cast) -> None:
    """As many as it may have; the clients are still there."""
    assert cast.guard is not None
    _, most = resource.prlimit(cast.guard.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(cast.guard.process.pid, resource.RLIMIT_NOFILE, (most, most))


def _turning(cast: Cast) -> TurningAgent:
    assert isinstance(cast.agent, TurningAgent)
    return cast.agent
