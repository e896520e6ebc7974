"""Binds an address, or gives one line with the reason and the remedy."""

import errno
import grp
import os
import pwd
import resource
import socket
import stat
import subprocess
import sys
import tempfile
from dataclasses import replace

import pytest

from spoe_guard.address import Address
from spoe_guard.net import bind as binding
from spoe_guard.net.bind import ListenError, bind
from spoe_guard.net.guard import Guard
from spoe_guard.net.route import Route, SocketRights
from tests.net.doubles import FakeSession, Recorder
from tests.net.stage import LOCALHOST, open_sockets
from tests.peers import need_root

AGENT = Address("127.0.0.1", 9)


def listening(address=LOCALHOST, name="default"):
    return Route(name, address, (AGENT,))


async def refusal(address):
    with pytest.raises(ListenError) as caught:
        await bind(listening(address))
    text = str(caught.value)
    start = f"route default: cannot listen on {address}: "
    assert text.startswith(start)
    assert "\n" not in text
    return text.removeprefix(start)


async def test_the_kernel_chooses_a_port():
    bound = await bind(listening())
    assert bound.address.host == "127.0.0.1"
    assert bound.address.port == bound.sock.getsockname()[1] != 0
    bound.close()


async def test_a_name_is_bound_at_its_ipv4_address(monkeypatch):
    async def both(_):
        return [(socket.AF_INET6, ("::1", 0, 0, 0)), (socket.AF_INET, ("127.0.0.1", 0))]

    monkeypatch.setattr(binding, "resolve", both)
    bound = await bind(listening(Address("localhost", 0)))
    assert bound.address.host == "127.0.0.1"
    bound.close()


async def test_ipv6_any_takes_ipv4_too():
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here: enable it (sysctl net.ipv6.conf.all.disable_ipv6=0)")
    bound = await bind(listening(Address("::", 0)))
    with socket.create_connection(("127.0.0.1", bound.address.port)):
        assert str(bound.address).startswith("[::]:")
    bound.close()


async def test_a_port_that_is_taken():
    first = await bind(listening())
    assert await refusal(first.address) == "something listens there already; stop it, or choose another address"
    first.close()


async def test_a_restart_does_not_wait_for_time_wait():
    first = await bind(listening())
    peer = socket.create_connection((first.address.host, first.address.port))
    first.sock.setblocking(True)
    first.sock.accept()[0].close()  # the side that closes first is left in TIME-WAIT
    assert peer.recv(1) == b""
    peer.close()
    first.close()
    (await bind(listening(first.address))).close()


async def test_an_address_of_another_machine():
    assert await refusal(Address("192.0.2.1", 0)) == (
        "this machine has no such address; choose one of its own, or 0.0.0.0 for all"
    )


async def test_a_name_that_does_not_resolve():
    assert await refusal(Address("x" * 64, 80)) == "the name does not resolve; correct it, or use a number"


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        (Address("0.0.0.0", 80), errno.EACCES, "port 80 needs a privilege; use one above 1023, or grant CAP_NET_BIND_SERVICE"),
        (Address("::1", 80), errno.EAFNOSUPPORT, "this machine does not speak that kind of address"),
        (Address("0.0.0.0", 80), errno.ENOMEM, os.strerror(errno.ENOMEM)),
        (Address(path="/run/x"), errno.EACCES, "no permission to create a socket in /run; grant it, or choose another path"),
        (Address(path="/run/x"), errno.EROFS, "no permission to create a socket in /run; grant it, or choose another path"),
        (Address(path="/run/x"), errno.ENOSPC, os.strerror(errno.ENOSPC)),
    ],
    ids=str,
)
async def test_what_root_on_a_test_machine_cannot_provoke(address, code, words):
    assert binding._remedy(OSError(code, os.strerror(code)), listening(address)) == words


async def test_a_unix_socket_comes_and_goes(tmp_path):
    path = tmp_path / "guard"
    bound = await bind(listening(Address(path=str(path))))
    assert path.is_socket()
    assert bound.address == Address(path=str(path))
    bound.close()
    assert not path.exists()


async def test_a_stale_unix_socket_is_replaced(tmp_path):
    path = tmp_path / "guard"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    bound = await bind(listening(Address(path=str(path))))
    with socket.socket(socket.AF_UNIX) as peer:
        assert peer.connect_ex(str(path)) == 0
    bound.close()


@pytest.mark.parametrize("backlog", [16, 0], ids=["idle", "full"])
async def test_a_unix_socket_somebody_listens_on_is_taken(tmp_path, backlog):
    path = tmp_path / "guard"
    with socket.socket(socket.AF_UNIX) as live, socket.socket(socket.AF_UNIX) as filler:
        live.bind(str(path))
        live.listen(backlog)
        filler.connect(str(path))
        assert await refusal(Address(path=str(path))) == ("something listens there already; stop it, or choose another address")
        assert path.is_socket()
        live.accept()[0].close()


async def test_a_file_in_the_way_is_left_alone(tmp_path):
    path = tmp_path / "guard"
    path.write_text("precious")
    assert "no socket; remove it" in await refusal(Address(path=str(path)))
    assert path.read_text() == "precious"


async def test_a_directory_that_is_not_there(tmp_path):
    path = str(tmp_path / "none" / "guard")
    assert await refusal(Address(path=path)) == f"the directory {tmp_path / 'none'} is not there; create it"


async def test_another_guards_socket_is_not_removed(tmp_path):
    path = tmp_path / "guard"
    bound = await bind(listening(Address(path=str(path))))
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        bound.close()
        assert path.is_socket()


@pytest.mark.parametrize("reserve", [0, 2], ids=["own", "for workers"])
async def test_a_unix_socket_gets_its_mode_owner_and_group(tmp_path, reserve):
    path = tmp_path / "guard"
    route = replace(listening(Address(path=str(path))), rights=SocketRights(0o612, os.geteuid(), os.getegid()))
    bound = await bind(route, reserve=reserve)
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o612, os.geteuid(), os.getegid())
    bound.close()
    assert not path.exists()


async def test_a_user_and_a_group_may_be_names(tmp_path):
    need_root("give a file away")
    path = tmp_path / "guard"
    route = replace(listening(Address(path=str(path))), rights=SocketRights(owner="daemon", group="mail"))
    bound = await bind(route)
    assert (path.stat().st_uid, path.stat().st_gid) == (pwd.getpwnam("daemon").pw_uid, grp.getgrnam("mail").gr_gid)
    bound.close()


@pytest.mark.parametrize(
    ("rights", "words"),
    [
        (SocketRights(owner="nobody-here"), "there is no user nobody-here; correct socket.owner, or use a number"),
        (SocketRights(group="nor-there"), "there is no group nor-there; correct socket.group, or use a number"),
    ],
    ids=["user", "group"],
)
async def test_an_owner_that_is_not_there_leaves_no_socket(tmp_path, rights, words):
    path = tmp_path / "guard"
    before = open_sockets()
    with pytest.raises(ListenError) as caught:
        await bind(replace(listening(Address(path=str(path))), rights=rights))
    assert str(caught.value) == f"route default: cannot listen on unix:{path}: {words}"
    assert not path.exists()
    assert open_sockets() == before


UNPRIVILEGED = """
import asyncio, os, pathlib, socket, sys, tempfile
from spoe_guard.address import Address
from spoe_guard.net.bind import ListenError, bind
from spoe_guard.net.route import Route, SocketRights

if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
with tempfile.TemporaryDirectory() as folder:
    for rights in (SocketRights(0o660, 0), SocketRights(group=0), SocketRights(owner=0, group=0)):
        try:
            asyncio.run(bind(Route("default", Address(path=folder + "/guard"), (), rights)))
        except ListenError as error:
            print(str(error).partition("guard: ")[2], os.listdir(folder))
"""


def test_a_socket_that_may_not_be_given_away_says_what_to_do():
    done = subprocess.run([sys.executable, "-c", UNPRIVILEGED], capture_output=True, text=True, timeout=30, check=True)
    remedy = "grant CAP_CHOWN, or for a group alone make the guard a member of it"
    assert done.stdout.splitlines() == [
        f"no permission to give its socket {whose}; {remedy} []" for whose in ("owner 0", "group 0", "owner 0 and group 0")
    ]


CONNECT = """
import os, socket, sys

os.setgroups([])
os.setgid(65534)
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as sock:
    print(sock.connect_ex(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("rights", "code"),
    [
        (SocketRights(), errno.EACCES),
        (SocketRights(0o660), errno.EACCES),
        (SocketRights(0o660, group=65534), 0),
        (SocketRights(0o600, owner=65534), 0),
        (SocketRights(0o666), 0),
    ],
    ids=["as it is", "mode", "group", "owner", "everybody"],
)
async def test_another_user_connects_where_the_rights_say_so(rights, code):
    need_root("be another user")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101  ruff takes a method of Path for one that blocks
        path = f"{folder}/guard"
        bound = await bind(replace(listening(Address(path=path)), rights=rights))
        command = [sys.executable, "-c", CONNECT, path]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: ASYNC221  nothing else runs
        assert int(done.stdout) == code
        bound.close()


async def test_nothing_stays_half_bound(tmp_path):
    before = open_sockets()
    taken = await bind(listening())
    path = tmp_path / "guard"
    routes = [listening(name="one"), listening(Address(path=str(path)), "two"), listening(taken.address, "three")]
    guard = Guard(routes, Recorder(), FakeSession)
    with pytest.raises(ListenError, match=r"^route three: "):
        await guard.start()
    taken.close()
    assert guard.addresses == {}
    assert not path.exists()
    assert open_sockets() == before


async def test_two_routes_on_one_address(tmp_path):
    address = Address(path=str(tmp_path / "guard"))
    guard = Guard([listening(address, "one"), listening(address, "two")], Recorder(), FakeSession)
    with pytest.raises(ListenError, match=r"^route two: .*something listens there already"):
        await guard.start()


@pytest.mark.parametrize("count", [1, 3])
async def test_a_reserved_address_accepts_nobody_and_only_sharers_may_bind_it(count):
    reserved = await bind(listening(), reserve=count)
    assert len({sock.fileno() for sock in reserved.socks}) == count
    assert {sock.getsockname()[1] for sock in reserved.socks} == {reserved.address.port}
    assert reserved.address.port != 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", reserved.address.port))
    bound = [await bind(listening(reserved.address), reuse_port=True) for _ in range(2)]
    assert [each.address for each in bound] == [reserved.address] * 2
    assert "something listens there already" in await refusal(reserved.address)
    with pytest.raises(ListenError):
        await bind(listening(reserved.address), reserve=2)
    for each in (reserved, *bound):
        each.close()
    assert [sock.fileno() for sock in reserved.socks] == [-1] * count


async def test_nothing_stays_half_reserved():
    before = open_sockets()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with pytest.raises(ListenError, match="the guard has no file descriptor left of 64"):
            await bind(listening(), reserve=64)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert open_sockets() == before


async def test_a_unix_socket_that_is_lent_is_its_owners_to_remove(tmp_path):
    address = Address(path=str(tmp_path / "guard.sock"))
    owner = await bind(listening(address), reserve=3)
    assert owner.socks == (owner.sock,)
    guard = Guard([listening(address)], Recorder(), FakeSession, lent={"default": [owner.sock.dup()]})
    await guard.start()
    await guard.drain()
    assert len(list(tmp_path.iterdir())) == 1
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address.path)
    owner.close()
    assert list(tmp_path.iterdir()) == []
