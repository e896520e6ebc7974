"""What the kernel says about bytes that a peer on this machine has not read, and what comes of it where it says nothing."""

import contextlib
import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys
import termios

import pytest

from spoe_guard.lab import frames
from spoe_guard.net import unread as unreads
from spoe_guard.net.unread import Kernel, Question, Unread
from spoe_guard.wire import frame
from tests.builds import puts_in_place
from tests.net.conversation import Guarded, frame_of
from tests.net.stage import Stage, unix_in, until
from tests.peers import need

TCP = ["IPv4", "IPv6", "IPv4 in IPv6"]


def pair(kind, tmp_path):
    """Return both ends of a connection: the one that was accepted, and the one that connected."""
    if kind == "Unix":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "socket"))
            listening.listen()
            other = socket.socket(socket.AF_UNIX)
            other.connect(str(tmp_path / "socket"))
            return listening.accept()[0], other
    host, family = ("127.0.0.1", socket.AF_INET) if kind == "IPv4" else ("::1", socket.AF_INET6)
    host = "::" if kind == "IPv4 in IPv6" else host
    with socket.create_server((host, 0), family=family, dualstack_ipv6=kind == "IPv4 in IPv6") as listening:
        other = socket.create_connection(("127.0.0.1" if host == "::" else host, listening.getsockname()[1]))
        return listening.accept()[0], other


def unread(kernel, own):
    return Unread(kernel, own).count(own.fileno())


@pytest.fixture
def kernel():
    kernel = Kernel()
    yield kernel
    kernel.close()


@pytest.fixture(params=[*TCP, "Unix"])
def ends(request, tmp_path):
    own, other = pair(request.param, tmp_path)
    with own, other:
        yield own, other


def test_of_tcp_every_byte_is_known(kernel, ends):
    own, other = ends
    exact = own.family != socket.AF_UNIX
    assert unread(kernel, own) == 0
    own.sendall(b"x" * 1000)
    own.sendall(b"x" * 500)
    found = unread(kernel, own)
    assert found == 1500 if exact else found >= 1500
    other.recv(1200)
    found = unread(kernel, own)
    assert found == 300 if exact else found >= 300
    other.recv(300)
    assert unread(kernel, own) == 0


@pytest.mark.parametrize("size", [1, 200, 900, 2000, 8191, 16372])
def test_nothing_is_forgotten_and_all_that_was_read_is_known(kernel, ends, size):
    """As HAProxy reads: everything at a time, and what it says acknowledges some of it, and the rest is acknowledged later."""
    own, other = ends
    for _ in range(50):
        own.sendall(b"x" * size)
        assert unread(kernel, own) >= size
        assert len(other.recv(65536)) == size
        assert unread(kernel, own) == 0
        other.sendall(b"y")
        own.recv(1)
        assert unread(kernel, own) == 0


def test_a_peer_that_closed_or_is_gone_is_no_error(kernel, ends):
    own, other = ends
    own.sendall(b"x" * 100)
    other.close()
    unread(kernel, own)
    own.close()
    assert unread(kernel, own) is None


def test_a_socket_that_is_not_connected_is_not_known(kernel):
    with socket.socket() as own:
        assert unread(kernel, own) is None


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EPERM, errno.EMFILE])
def test_without_a_netlink_socket_tcp_is_not_known_and_unix_is(tmp_path, code):
    pairs = [pair("IPv4", tmp_path), pair("Unix", tmp_path)]
    refused = [OSError(code, os.strerror(code))]

    def connect():
        if refused:
            raise refused.pop()
        return netlink()

    with contextlib.closing(Kernel(connect)) as kernel:
        assert [unread(kernel, own) for own, _ in pairs] == [None, 0]
        assert [unread(kernel, own) for own, _ in pairs] == [0, 0]
    for each in (*pairs[0], *pairs[1]):
        each.close()


def netlink():
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 4)


def answers(own, change, *questions):
    """Return a socket in place of the netlink socket, that has the answers to ``questions`` already.

    ``change`` makes of the kernel's answer to one of them those that come; none, if it is to stay silent. Each of ``questions``
    says whether it asks for what was received, too.
    """
    guards, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    guards.setblocking(False)
    with netlink() as real:
        for number, received in enumerate(questions, 1):
            real.send(Question(own, received=received).numbered(number))
            for answer in change(real.recv(4096)):
                kernels.send(answer)
    return guards, kernels


def with_number(raw, number):
    return raw[:8] + number.to_bytes(4, "big") + raw[12:]


ANSWERS = {
    "as they are": (lambda raw: [raw], 7),
    "behind one that came late": (lambda raw: [with_number(raw, 0xFFFFFFF), raw], 7),
    "behind too many of them": (lambda raw: [with_number(raw, 0xFFFFFFF)] * 8 + [raw], None),
    "none": (lambda raw: [], None),
    "an error": (lambda raw: [struct.pack("=IHHIIi", 36, 2, 0, *struct.unpack_from("=II", raw, 8), -errno.ENOENT)], None),
    "cut off in the header": (lambda raw: [raw[:10]], None),
    "cut off in the socket": (lambda raw: [raw[:60]], None),
    "of a socket that listens": (lambda raw: [raw[:17] + b"\x0a" + raw[18:]], None),
    "of a connection to somebody else": (lambda raw: [raw[:20] + b"\0\1" + raw[22:]], None),
}
ATTRIBUTES = {
    "as they are": (lambda raw: [raw], 7),
    "cut off before what was received": (lambda raw: [raw[:88]], None),
    "cut off within what was received": (lambda raw: [raw[:200]], None),
    "without what was received": (lambda raw: [raw[:88] + struct.pack("=HH", 4, 9)], None),
    "with a length of 0": (lambda raw: [raw[:88] + struct.pack("=HH", 0, 9) * 3], None),
}


@pytest.fixture
def seven(tmp_path):
    """A connection whose peer has seven bytes to read."""
    own, other = pair("IPv4", tmp_path)
    with own, other:
        own.sendall(b"x" * 7)
        other.recv(7, socket.MSG_PEEK)  # they are there
        yield own


@pytest.mark.parametrize(("change", "found"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_is_none_is_not_known(seven, change, found):
    guards, kernels = answers(seven, change, False)
    with kernels, contextlib.closing(Kernel(lambda: guards)) as kernel:
        assert unread(kernel, seven) == found


@puts_in_place
@pytest.mark.parametrize(("change", "found"), (ANSWERS | ATTRIBUTES).values(), ids=ANSWERS | ATTRIBUTES)
def test_nor_is_one_of_what_is_on_its_way(monkeypatch, seven, change, found):
    monkeypatch.setattr(unreads.calls, "unacknowledged", lambda _: 7)
    monkeypatch.setattr(unreads, "_acked", lambda _: 0)
    guards, kernels = answers(seven, change, True, False)
    with kernels, contextlib.closing(Kernel(lambda: guards)) as kernel:
        assert unread(kernel, seven) == found


@puts_in_place
def test_what_comes_between_two_answers_does_not_count_as_read(monkeypatch, seven):
    """Of 2000 bytes that were sent 500 are there at the first answer, and more at the second one, 300 of them unread."""
    found = iter([(0, 500), (300, 0)])

    def change(raw):
        unread, received = next(found)
        if not received:
            return [raw[:72] + struct.pack("=I", unread) + raw[76:]]
        at = 88  # of the first attribute
        while struct.unpack_from("=HH", raw, at)[1] != 2:
            at += -(-struct.unpack_from("=HH", raw, at)[0] // 4) * 4
        at += 4 + 128
        return [raw[:72] + struct.pack("=I", unread) + raw[76:at] + struct.pack("=Q", received) + raw[at + 8 :]]

    monkeypatch.setattr(unreads.calls, "unacknowledged", lambda _: 1900)
    monkeypatch.setattr(unreads, "_acked", lambda _: 100)
    guards, kernels = answers(seven, change, True, False)
    with kernels, contextlib.closing(Kernel(lambda: guards)) as kernel:
        assert unread(kernel, seven) == 1800


ELSEWHERE = """
import socket, sys
from spoe_guard.net.unread import Kernel, Unread
print([Unread(Kernel(), socket.socket(fileno=int(each))).count(int(each)) for each in sys.argv[1:]])
"""


def test_a_peer_in_another_network_namespace_is_known_on_unix_sockets_alone(tmp_path):
    pairs = [pair("IPv4", tmp_path), pair("Unix", tmp_path)]
    files = [own.fileno() for own, _ in pairs]
    command = [need("unshare", "util-linux"), "--map-root-user", "--net", sys.executable, "-W", "ignore", "-c", ELSEWHERE]
    done = subprocess.run([*command, *map(str, files)], pass_fds=files, capture_output=True, text=True, timeout=60, check=False)
    for each in (*pairs[0], *pairs[1]):
        each.close()
    if "unshare failed" in done.stderr:
        pytest.skip("no namespaces here")
    assert (done.stdout, done.stderr) == ("[None, 0]\n", "")


# --- with a session --------------------------------------------------------------------------------------------------------


def long_ack(stream_id, size):
    """Return an ACK of ``size`` bytes, at least 200."""
    asked = frame.parse(frames.notify(stream_id, 1, b"/"))
    plain = len(frames.ack(asked, frames.text_verdict(b"verdict", b"x" * 100)))
    longer = size - plain + (100 if size < 300 else 99)
    return frames.ack(asked, frames.text_verdict(b"verdict", b"x" * longer))


async def asked(stage, haproxy, agent, count):
    """HAProxy sends so many NOTIFYs, and the agent has them."""
    sent = b"".join(frames.notify(2 * number + 1, 1, b"/") for number in range(count))
    await haproxy.send(sent)
    assert await agent.read(len(sent)) == sent


async def test_an_haproxy_that_reads_nothing_never_has_half_a_buffer_unread(family, tmp_path):
    async with Guarded(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, agent = await stage.talking()
        await asked(stage, haproxy, agent, 20)
        answers = [long_ack(2 * number + 1, 900) for number in range(20)]
        tally = stage.recorder.tally("default")
        for number, answer in enumerate(answers, 1):
            await agent.send(answer)
            await until(lambda number=number: tally.ack_count == number)
        assert 900 <= waiting(haproxy.sock) < 8192
        assert tally.held_bytes == sum(map(len, answers)) - waiting(haproxy.sock)
        assert await haproxy.read(sum(map(len, answers))) == b"".join(answers)
        await until(lambda: tally.held_bytes == 0)
        haproxy.reset()
        agent.reset()
        await stage.over()


async def test_an_haproxy_that_reads_gets_everything_at_once(family, tmp_path):
    async with Guarded(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, agent = await stage.talking()
        tally = stage.recorder.tally("default")
        for turn in range(100):
            stream_id = 2 * turn + 1
            sent = frames.notify(stream_id, 1, b"/")
            await haproxy.send(sent)
            await agent.read(len(sent))
            answer = long_ack(stream_id, 4000)
            await agent.send(answer)
            assert await haproxy.read(len(answer)) == answer
            assert tally.held_bytes == 0
        haproxy.reset()
        agent.reset()
        await stage.over()


async def test_what_a_leg_sent_is_what_the_kernel_took(family, tmp_path):
    async with Stage(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, _ = await stage.both()
        leg, data = stage.relay.haproxy, b"x" * 60000
        while not leg.unsent:
            leg.write(data)
        sent, rest = leg.sent, leg.unsent
        assert sent % len(data) == -rest % len(data)
        assert len(await haproxy.read(sent + rest)) == sent + rest == leg.sent
        del leg


def waiting(sock):
    """Return how many bytes ``sock`` could read now."""
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)


@puts_in_place
@puts_in_place
async def test_an_haproxy_of_which_nothing_is_known_is_not_to_pipeline(monkeypatch):
    monkeypatch.setattr(Unread, "count", lambda _unread, _fd: None)
    async with Guarded() as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(frames.haproxy_hello(frames.Family.MUX))
        agent = await stage.agent()
        assert b"pipelining" in (await frame_of(agent)).raw
        await agent.send(frames.agent_hello())
        assert b"pipelining" not in (await frame_of(haproxy)).raw
        haproxy.reset()
        agent.reset()
        await stage.over()
