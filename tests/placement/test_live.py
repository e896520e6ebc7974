"""What `init --write` makes of a real HAProxy's files, with that HAProxy, the guard and an agent running."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.agent import AgentThread
from tests.integration.generations import find
from tests.integration.haproxy import Haproxy, Options, free, wait_until
from tests.running import FREE, Running, end_all, spoe_guard


def as_written(folder: Path, options: Options) -> Haproxy:
    """Start HAProxy with the files of a folder as they are, but for the number of the socket that it listens on."""
    text = {name: (folder / name).read_text().replace("{", "{{").replace("}", "}}") for name in ("haproxy.cfg", "spoe.conf")}
    main = re.sub(r"bind fd@\d+", "bind fd@{web_fd}", text["haproxy.cfg"])
    return type("AsWritten", (Haproxy,), {"main": main, "spoe": text["spoe.conf"]})(folder, "", options)


@pytest.mark.parametrize("name", ["2.6", "3.2"])
def test_haproxy_goes_on_as_before_with_the_guard_between(tmp_path, name):
    options = Options(program=find(name).program, plain_check=True, processing="300ms")
    with ExitStack() as stack:
        agent_ends = stack.enter_context(ExitStack())
        agent = agent_ends.enter_context(AgentThread())
        with Haproxy(tmp_path, agent.address, options) as haproxy:
            before = haproxy.get("/x")
        listen = "{}:{}".format(*stack.enter_context(free()).getsockname())
        arguments = ["--haproxy", str(tmp_path / "haproxy.cfg"), "--listen", listen, "--output", str(tmp_path / "guard.yaml")]
        done = spoe_guard("init", *arguments, "--write")
        assert done.returncode == 0, done.stderr
        sooner = {"SPOE_GUARD_ROUTES__0__LINKS__GIVE_UP": "200ms"}  # than 5 s the agent counts as away
        guard = Running(tmp_path, None, "--config", str(tmp_path / "guard.yaml"), "--admin", FREE, settings=sooner)
        stack.callback(end_all, [guard])
        guard.wait_for("listening")
        haproxy = stack.enter_context(as_written(tmp_path, options))
        after = haproxy.get("/x")
        assert (after.status, after.verdict, after.error) == (before.status, before.verdict, before.error) == (200, "/x", "")
        assert 'spoe_guard_frames_total{direction="to_haproxy",route="guarded",type="ack"}' in guard.ask("/metrics")[1]
        wait_until(lambda: haproxy.health().startswith("UP"), "the check passes", 15)
        agent_ends.close()
        wait_until(lambda: haproxy.health().startswith("DOWN"), "the check tells that the agent is away", 15)
        checked = spoe_guard("check", "--config", str(tmp_path / "guard.yaml"), *arguments[:2], "--strict")
        assert checked.returncode == 0, checked.stdout
