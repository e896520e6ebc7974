"""A guard takes over from another at a socket that systemd holds open for both, under load: no request fails."""

import pytest

from spoe_guard.lab.agent import Script
from tests.integration import generations
from tests.integration.haproxy import Options, wait_until
from tests.integration.load import Load
from tests.service_manager import Manager, listening, settings

UNDER_WAY = 100  # responses
DELAY_S = 0.005  # of each answer, so that NOTIFYs are open at any time


@pytest.mark.timeout(60)
@pytest.mark.parametrize("at", ["2.6", "3.2"])
def test_a_new_guard_at_the_same_socket_takes_over_under_load(stage, tmp_path, at):
    agent = stage.agent(Script(delay_s=DELAY_S))
    folders = [tmp_path / name for name in ("old", "new")]
    for folder in folders:
        folder.mkdir()
    old, new = managers = [Manager(folder) for folder in folders]
    with listening() as sock:
        try:
            told = settings(ROUTES__0__AGENT=agent.address, SHARE_LISTEN="true", LOG__LEVEL="debug")
            old.start(("default", sock), **told)
            old.hear_of("READY=1")
            where = "{}:{}".format(*sock.getsockname())
            # HAProxy is killed before its guard, whose sessions have to end before it does.
            with Load(stage.haproxy(where, Options(program=generations.find(at).program))) as load:
                wait_until(lambda: len(load.seen) >= UNDER_WAY, "the load is under way", 10)
                new.start(("default", sock), **told)
                new.hear_of("READY=1")
                assert old.stop() == 0
                so_far = len(load.seen)
                wait_until(lambda: len(load.seen) >= so_far + UNDER_WAY, "the load goes on with the new one", 10)
            assert {path for path, seen in load.seen.items() if (seen.status, seen.verdict) != (200, path)} == set()
            assert '"reason": "handed_over"' in old.log()
            assert new.stop() == 0
            assert (old.errors(), new.errors()) == ("", "")
        finally:
            for manager in managers:
                manager.close()
