"""Names: one look-up for all who wait, the last good answer while the resolver is silent, and never more than so many threads."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict

import pytest

from spoe_guard import threads
from spoe_guard.address import Address
from spoe_guard.core.terms.events import DialFailure
from spoe_guard.net.dial import DialError, dial
from spoe_guard.net.resolver import MOST_NAMES, MOST_THREADS, Resolver, resolve
from spoe_guard.threads import NO_THREAD
from tests.net.stage import files_left, until
from tests.peers import missing, need

SILENT = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class System:
    """The C library: what it answers for a name (unknown), or that it says nothing until ``speaks`` is set."""

    def __init__(self) -> None:
        self._numeric = socket.getaddrinfo
        self.answers: dict[str, str | Exception] = {}
        self.asked: Counter[str] = Counter()
        self.mute: defaultdict[str, threading.Event] = defaultdict(self._speaking)

    @staticmethod
    def _speaking() -> threading.Event:
        event = threading.Event()
        event.set()
        return event

    def getaddrinfo(self, host, port, *, type=0, flags=0):  # noqa: A002  the system's own name
        if flags:
            return self._numeric(host, port, type=type, flags=flags)
        self.asked[host] += 1
        self.mute[host].wait(20)
        answer = self.answers.get(host, UNKNOWN)
        if isinstance(answer, Exception):
            raise answer
        return [(socket.AF_INET, type, 6, "", (answer, 0))]

    def falls_silent(self, *hosts: str) -> None:
        for host in hosts:
            self.mute[host].clear()

    def speaks(self) -> None:
        for event in self.mute.values():
            event.set()


@pytest.fixture
def system(monkeypatch):
    made = System()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    yield made
    made.speaks()


def at(ip: str) -> list[tuple[int, tuple[str, int]]]:
    return [(socket.AF_INET, (ip, 0))]


async def test_all_who_wait_for_a_name_share_one_look_up(system):
    names = Resolver()
    system.answers["agent"] = "10.0.0.1"
    system.falls_silent("agent")
    waiting = [asyncio.ensure_future(names.look_up("agent")) for _ in range(100)]
    await until(lambda: system.asked["agent"] == 1)
    waiting[0].cancel()  # and leaves the look-up to the others
    system.speaks()
    assert await asyncio.gather(*waiting[1:]) == [at("10.0.0.1")] * 99
    assert system.asked["agent"] == 1


async def test_a_name_is_looked_up_anew_each_time(system):
    names = Resolver()
    for ip in ("10.0.0.1", "10.0.0.2"):
        system.answers["agent"] = ip
        assert await names.look_up("agent") == at(ip)


async def test_while_the_resolver_hangs_the_last_good_answer_is_used(system):
    names, loop, told = Resolver(), asyncio.get_running_loop(), []
    names.watch(told.append)
    system.answers["agent"] = "10.0.0.1"
    await names.look_up("agent")
    system.falls_silent("agent")
    assert await names.look_up("agent", 0.05) == at("10.0.0.1")
    began = loop.time()
    for _ in range(10):
        assert await names.look_up("agent", 5) == at("10.0.0.1")
    assert loop.time() - began < 2  # the first one found out; nobody waits for that again
    assert system.asked["agent"] == 2
    assert told == ["agent"]

    system.answers["agent"] = "10.0.0.2"
    system.speaks()
    await until(lambda: names._names["agent"].asking is None)
    assert names._names["agent"].known == at("10.0.0.2")
    assert await names.look_up("agent") == at("10.0.0.2")


async def test_while_the_resolver_has_no_answer_the_last_good_one_is_used(system):
    names, told = Resolver(), []
    names.watch(told.append)
    system.answers["agent"] = "10.0.0.1"
    await names.look_up("agent")
    system.answers["agent"] = SILENT
    for _ in range(3):
        assert await names.look_up("agent") == at("10.0.0.1")
    assert told == ["agent"]
    system.answers["other"] = SILENT
    with pytest.raises(socket.gaierror):
        await names.look_up("other")
    assert told == ["agent"]  # of the other nothing is known that could be used


async def test_a_name_that_is_gone_is_forgotten(system):
    """The resolver has spoken: a Service without a ready pod, and its last pod's address may be another's."""
    names = Resolver()
    system.answers["agent"] = "10.0.0.1"
    await names.look_up("agent")
    for answer in (UNKNOWN, SILENT):
        system.answers["agent"] = answer
        with pytest.raises(socket.gaierror):
            await names.look_up("agent")


async def test_an_unknown_name_without_descriptors_is_not_forgotten(system):
    """Short of them the C library cannot read /etc/hosts, and calls every name unknown."""
    names = Resolver()
    system.answers["agent"] = "10.0.0.1"
    await names.look_up("agent")
    system.answers["agent"] = UNKNOWN
    with files_left():
        assert await names.look_up("agent") == at("10.0.0.1")


async def test_a_silent_resolver_is_named_for_a_name_never_known(system):
    system.answers["agent"] = SILENT
    with pytest.raises(DialError) as caught:
        await dial([Address("agent", 9)], 1.0)
    detail = "agent: the resolver has no answer for now (Temporary failure in name resolution)"
    assert (caught.value.reason, caught.value.detail) == (DialFailure.UNRESOLVED, detail)
    system.falls_silent("other")
    with pytest.raises(DialError) as caught:
        await dial([Address("other", 9)], 0.1)
    detail = "other: no answer from the resolver within 0.08 s"
    assert (caught.value.reason, caught.value.detail) == (DialFailure.UNRESOLVED, detail)


async def test_a_short_connect_timeout_still_uses_the_last_good_answer(system):
    with socket.create_server(("127.0.0.1", 0)) as agent:
        system.answers["agent"] = "127.0.0.1"
        address = Address("agent", agent.getsockname()[1])
        (await dial([address], 5.0)).sock.close()
        system.falls_silent("agent")
        (await dial([address], 1.0)).sock.close()


@pytest.mark.parametrize("more", [0, 1], ids=["at_the_bound", "one_past_it"])
async def test_look_ups_under_way_are_bounded(system, more):
    names = Resolver()
    mute = [f"mute{number}" for number in range(MOST_THREADS - 1 + more)]
    system.answers |= dict.fromkeys(["quick", "known", *mute], "10.0.0.1")
    await names.look_up("known")
    system.falls_silent(*mute)
    waiting = [asyncio.ensure_future(names.look_up(host)) for host in mute]
    await until(lambda: all(system.asked[host] for host in mute))
    quick = asyncio.ensure_future(names.look_up("quick"))
    if more:
        assert await names.look_up("known", 0.01) == at("10.0.0.1")
        assert not system.asked["quick"]
        system.mute[mute[0]].set()
    assert await quick == at("10.0.0.1")
    system.speaks()
    await asyncio.gather(*waiting)


async def test_names_that_are_remembered_are_bounded(system):
    names = Resolver()
    system.falls_silent("first")
    waiting = asyncio.ensure_future(names.look_up("first"))
    await until(lambda: system.asked["first"] == 1)
    for number in range(MOST_NAMES - 1):
        names._name(f"name{number}")
    assert len(names._names) == MOST_NAMES
    names._name("name0")
    names._name("another")
    assert len(names._names) == MOST_NAMES
    assert "first" in names._names  # it is being asked for
    assert "name0" in names._names
    assert "name1" not in names._names
    system.speaks()
    with pytest.raises(socket.gaierror):
        await waiting


async def test_without_a_thread_the_guard_blames_itself(system, monkeypatch):
    def refuses(_self):
        raise RuntimeError("can't start new thread")

    system.answers["agent"] = "10.0.0.1"
    names = Resolver()
    await names.look_up("agent")
    with monkeypatch.context() as without:
        without.setattr(threads.threading.Thread, "start", refuses)
        assert await names.look_up("agent") == at("10.0.0.1")
        with pytest.raises(DialError) as caught:
            await dial([Address("other", 9)], 1.0)
    assert (caught.value.reason, caught.value.detail) == (DialFailure.OWN_LIMIT, f"other: {NO_THREAD}")
    assert await names.look_up("agent") == at("10.0.0.1")


async def test_the_port_of_each_address_is_its_own(system):
    system.answers["agent"] = "10.0.0.1"
    system.falls_silent("agent")
    two = [asyncio.ensure_future(resolve(Address("agent", port))) for port in (80, 81)]
    await until(lambda: system.asked["agent"] == 1)
    system.speaks()
    assert await asyncio.gather(*two) == [[(socket.AF_INET, ("10.0.0.1", port))] for port in (80, 81)]


RESOLVER_S = 9.0  # a second less than the C library waits: it asks twice, for 5 s

MUTE = """
import asyncio, fcntl, pathlib, socket, struct, subprocess, sys, uvloop
from spoe_guard.address import Address
from spoe_guard.net.dial import DialError, dial

folder = pathlib.Path(sys.argv[1])
with socket.socket() as sock:
    fcntl.ioctl(sock, 0x8914, struct.pack("16sh22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
mute = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
mute.bind(("127.0.0.1", 53))
files = {"hosts": "127.0.0.1 known.test", "resolv.conf": "nameserver 127.0.0.1", "nsswitch.conf": "hosts: files dns"}
for name, text in files.items():
    (folder / name).write_text(text + "\\n")
    subprocess.run(["mount", "--bind", folder / name, f"/etc/{name}"], check=True)
agent = socket.create_server(("127.0.0.1", 9000))

async def unknown():
    try:
        await dial([Address("slow.test", 9000)], 1.0)
    except DialError as error:
        return f"{error.reason.value} {error.detail}"

async def main():
    slow = [asyncio.ensure_future(unknown()) for _ in range(12)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        for _ in range(20):
            (await dial([Address("known.test", 9000)], 1.0)).sock.close()
    print(all(not each.done() for each in slow), {await each for each in slow})

with asyncio.Runner(loop_factory=uvloop.new_event_loop if sys.argv[2] == "uvloop" else None) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_mute_resolver_costs_only_the_names_it_never_told(tmp_path, loop):
    """The C library's own resolver, in a network of its own, with a name server that reads and never answers."""
    by = [need("unshare", "util-linux"), "--map-root-user", "--net", "--mount"]
    command = [*by, sys.executable, "-c", MUTE, str(tmp_path), loop]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "unshare failed" in done.stderr:
        missing("no network namespaces here", "run as root, or allow user namespaces")
    told = {"unresolved slow.test: no answer from the resolver within 0.8 s"}
    assert done.stdout.splitlines() == [f"True {told}"], done.stderr
    assert time.monotonic() - began < RESOLVER_S  # the end waits for no thread
