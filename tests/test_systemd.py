"""The units of config/systemd: systemd's own verdict, and a guard restricted to the system calls they allow."""

import asyncio
import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spoe_guard.lab.agent import ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.wire import frame
from tests import sandbox
from tests.peers import ROOT, missing, need
from tests.running import START_S
from tests.service_manager import COMMAND, Manager, settings

UNITS = ROOT / "config/systemd"
EXPOSURE = 20  # in tenths: below 2.0
INSTALLED = "/opt/spoe-guard/bin/spoe-guard"


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = need("systemd-analyze", "systemd")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=20, check=False)


@pytest.fixture
def installed(tmp_path) -> Path:
    """The units as they are committed, but for where spoe-guard is."""
    for unit in UNITS.iterdir():
        text = unit.read_text().replace(INSTALLED, str(Path(sys.executable).with_name("spoe-guard")))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def test_systemd_finds_nothing_wrong_with_the_units(installed):
    done = analyze("verify", installed / "spoe-guard.service", installed / "spoe-guard.socket")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_finds_nothing_wrong_with_the_service_as_a_template(installed):
    done = analyze("verify", (installed / "spoe-guard.service").rename(installed / "spoe-guard@.service"))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_service_may_do_so_little_that_its_exposure_is_below_2():
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", UNITS / "spoe-guard.service")
    assert done.returncode == 0, done.stdout


def test_a_reload_is_checked_with_the_file_that_runs():
    lines = (UNITS / "spoe-guard.service").read_text().splitlines()
    [run] = [line for line in lines if line.startswith("ExecStart=")]
    [check, hup] = [line for line in lines if line.startswith("ExecReload=")]
    assert check == f"ExecReload=/bin/sh -c '{run.removeprefix('ExecStart=').replace(' run ', ' check ')} > /dev/null'"
    assert hup == "ExecReload=/bin/sh -c 'kill -HUP $MAINPID'"  # the shell's own: /bin/kill is missing in a small Debian


def confined(unit: Path) -> tuple[str, ...]:
    """Return what runs a command with what ``unit`` leaves it."""
    try:
        sandbox.numbers()
    except OSError as error:
        missing(str(error.strerror), "on x86_64: apt-get install linux-libc-dev")
    return (sys.executable, sandbox.__file__, need("systemd-analyze", "systemd"), str(unit))


def is_confined(pid: int) -> bool:
    return "Seccomp:\t2\n" in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_guard_has_all_it_needs(tmp_path, loop):
    """It starts, resolves a name, serves, writes a capture, reloads, hands its metrics out and stops."""

    async def main() -> None:
        manager, agent = Manager(tmp_path), ScriptedAgent()
        try:
            where = f"localhost:{await agent.listen_tcp()}"
            told = settings(ROUTES__0__AGENT=where, CAPTURE__DIR=str(tmp_path), SHARE_LISTEN="true", LOOP=loop)
            manager.start(command=(*confined(UNITS / "spoe-guard.service"), *COMMAND), **told)
            _, status = await asyncio.to_thread(manager.hear_of, "READY=1")
            assert is_confined(manager.process.pid)
            port = int(status.removesuffix(".").rpartition(":")[2])
            async with await Engine.tcp(port, deadline_s=START_S) as engine:
                await engine.hello()
                await engine.notify(b"/x")
                assert (await engine.read()).type == frame.ACK
            async with await Engine.tcp(port, deadline_s=START_S) as engine:
                await engine.send(b"GET / HTTP/1.1\r\n\r\n")
                await engine.read()
            manager.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(manager.hear_of, "RELOADING=1")
            assert "STATUS=Listening: default at" in (await asyncio.to_thread(manager.hear_of, "READY=1"))[1]
            assert await asyncio.to_thread(manager.stop) == 0
            assert manager.errors() == ""
            assert len(list(tmp_path.glob("*.pcapng"))) == 1
            assert "no_handover" not in manager.log()
        finally:
            await agent.stop()
            manager.close()

    asyncio.run(main())


def test_two_instances_find_each_other_in_a_directory_that_stays():
    """systemd removes it with the first one that stops unless it is told to keep it."""
    lines = (UNITS / "spoe-guard.service").read_text().splitlines()
    wanted = {"RuntimeDirectory=spoe-guard", "RuntimeDirectoryMode=0700", "RuntimeDirectoryPreserve=yes", "User=spoe-guard"}
    assert wanted <= set(lines)


FORBIDDEN = """
import ctypes, mmap, os, socket
def refused(action):
    try:
        action()
    except OSError as error:
        return error.errno
print([refused(each) for each in (
    lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    lambda: os.chroot("/"),
    lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    lambda: socket.socket(socket.AF_INET),
    lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4),
)])
"""


def test_what_the_unit_forbids_is_refused_here_too():
    """Or the test above would say nothing."""
    command = [*confined(UNITS / "spoe-guard.service"), sys.executable, "-c", FORBIDDEN]
    message = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    assert message == f"{[errno.EPERM, errno.EAFNOSUPPORT, errno.EPERM, errno.EPERM, None, None]}\n"
