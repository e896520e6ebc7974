"""How many descriptors are left, wherever the kernel found room for the latest."""

import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from spoe_guard.net import own_limits

SPARE = 8
MANY = 40


@pytest.fixture
def scarce():
    """Lower the limit so that MANY more descriptors can be had; yield how many are above it, from before."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as at_exit:
        limit = 1 + max(at_exit.enter_context(socket.socket()).fileno() for _ in range(MANY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    yield sum(int(each.name) >= limit for each in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def can_be_had(count):
    with ExitStack() as at_exit:
        try:
            for _ in range(count):
                at_exit.enter_context(socket.socket())
        except OSError:
            return False
        return True


@pytest.mark.parametrize("gaps", [0, 4], ids=["none below", "some below"])
def test_it_is_known_how_many_descriptors_are_left(gaps, scarce):
    """As long as there is room for more, and from the first that leaves none; with free numbers below those in use, too."""
    if gaps and not Path("/proc/self/fd").stat().st_size:
        pytest.skip("this kernel does not say how many descriptors are open; Linux 6.2 does")
    with ExitStack() as at_exit:
        low = [at_exit.enter_context(socket.socket()) for _ in range(gaps)]
        for _ in range(MANY - 2 * SPARE):
            at_exit.enter_context(socket.socket())
        for sock in low:
            sock.close()
        told = []
        while can_be_had(1):
            latest = at_exit.enter_context(socket.socket())
            told.append(own_limits.leaves(latest.fileno(), SPARE))
            assert told[-1] is can_be_had(SPARE + scarce)
        assert (told[0], told[-1]) == (True, False)
