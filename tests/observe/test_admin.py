"""The admin address over real sockets: its responses, and its robustness."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from spoe_guard import slices
from spoe_guard.core.terms.events import AgentReady, AgentUnreachable, DialFailure
from spoe_guard.observe import admin as admin_module
from spoe_guard.observe.admin import MAX_CONNECTIONS, MAX_REQUEST_BYTES, REQUEST_S, Admin
from spoe_guard.observe.formats import Format
from spoe_guard.observe.health import Health
from spoe_guard.observe.live.page import POLICY
from spoe_guard.observe.live.status import Live
from spoe_guard.observe.metrics import Exposition, GuardMetrics
from spoe_guard.observe.observer import GuardObserver

AGENT = "127.0.0.1:9"
END = b"\r\n\r\n"
HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: localhost" + END


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 a test must not change what it looks at to have an event
            await asyncio.sleep(0.001)


class Served:
    """An admin address, what it reports of, and a way to ask it."""

    def __init__(self, admin: Admin, observer: GuardObserver, health: Health, sock: socket.socket) -> None:
        self.admin = admin
        self.observer = observer
        self.health = health
        self.sock = sock
        self.address = sock.getsockname()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.sock.family == socket.AF_UNIX:
            return await asyncio.open_unix_connection(self.address)
        return await asyncio.open_connection(*self.address)

    async def raw(self, request: bytes) -> bytes:
        """Send bytes, say no more, and return all that comes."""
        reader, writer = await self.connect()
        writer.write(request)
        try:
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            await hang_up(writer)

    async def ask(self, line: str) -> tuple[int, dict[str, str], str]:
        answer = await self.raw(f"{line} HTTP/1.1\r\nHost: localhost".encode() + END)
        head, _, body = answer.partition(END)
        status, *headers = head.decode().split("\r\n")
        return int(status.split()[1]), dict(header.split(": ", 1) for header in headers), body.decode()


@asynccontextmanager
async def serving(lines, sock: socket.socket | None = None) -> AsyncIterator[Served]:
    observer = GuardObserver(["default", "other"], lines.log(), 10)
    for stats in observer.routes.values():
        stats.serve([AGENT])
    health = Health(observer.routes)
    live = Live(observer.routes, observer.incidents.take, health, {"version": "1"})
    admin = Admin(health, Exposition(GuardMetrics(observer.routes, {"version": "1"})), live)
    sock = sock or socket.create_server(("127.0.0.1", 0))
    await admin.start(sock)
    try:
        yield Served(admin, observer, health, sock)
    finally:
        await admin.stop()
        sock.close()


@pytest.fixture
def on_admin(run, lines):
    """Run a test's coroutine against an admin address, on either loop."""

    def on(talk, sock: socket.socket | None = None):
        async def main() -> None:
            async with serving(lines, sock) as served:
                await talk(served)

        run(main())

    return on


def test_metrics_are_served_in_the_text_format(on_admin):
    async def talk(served: Served) -> None:
        status, headers, body = await served.ask("GET /metrics")
        assert status == 200
        assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert headers["Content-Length"] == str(len(body.encode()))
        assert headers["Connection"] == "close"
        assert 'spoe_guard_connections_total{route="other"} 0.0' in body
        assert (await served.ask("GET /metrics?name[]=x"))[0] == 200

    on_admin(talk)


PROMETHEUS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


def test_metrics_are_served_as_openmetrics_to_who_prefers_it(on_admin):
    async def talk(served: Served) -> None:
        for accept, format_ in ((PROMETHEUS, Format.OPENMETRICS), ("text/plain", Format.TEXT), ("*/*", Format.TEXT)):
            answer = await served.raw(f"GET /metrics HTTP/1.1\r\nHost: localhost\r\naccept: {accept}".encode() + END)
            head, _, body = answer.partition(END)
            assert f"\r\nContent-Type: {format_.value}\r\n".encode() in head
            assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head
            assert body.endswith(b"\n# EOF\n") == (format_ is Format.OPENMETRICS)

    on_admin(talk)


def test_who_serves_keeps_the_memory_that_answers_leave_free(on_admin, monkeypatch):
    kept = []
    monkeypatch.setattr(admin_module, "keep_freed_memory", lambda: kept.append(True))

    async def talk(_served: Served) -> None:
        assert kept == [True]

    on_admin(talk)


def test_a_long_answer_is_sent_in_pieces_with_turns_for_others(on_admin, monkeypatch):
    """A socket takes megabytes before there is anything to wait for; the turns are counted, not timed."""
    monkeypatch.setattr(slices, "SLICE_S", -1.0)
    pieces = [bytes([at]) * 1000 for at in range(200)]

    async def talk(served: Served) -> None:
        turns = at_end = 0

        async def rendered(_format: Format) -> list[bytes]:
            nonlocal turns
            turns = 0
            return pieces

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        served.admin._exposition.render = rendered  # type: ignore[method-assign]
        counting = asyncio.get_running_loop().create_task(count())
        reader, writer = await served.connect()
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost" + END)
        await reader.readuntil(END)
        body = await reader.readexactly(sum(map(len, pieces)))
        at_end = turns
        counting.cancel()
        await hang_up(writer)
        assert body == b"".join(pieces)
        assert at_end >= len(pieces)

    on_admin(talk)


PATHS = [
    ("/", "text/html; charset=utf-8", "<!doctype html>"),
    ("/api/status", "application/json", '{"version":3,'),
    ("/live.css", "text/css; charset=utf-8", ":root {"),
    ("/live.js", "text/javascript; charset=utf-8", '"use strict";'),
    ("/icon.svg", "image/svg+xml", "<svg "),
]


@pytest.mark.parametrize(("path", "content_type", "start"), PATHS)
def test_the_live_page_and_what_belongs_to_it_is_served(on_admin, path, content_type, start):
    async def talk(served: Served) -> None:
        status, headers, body = await served.ask(f"GET {path}?x")
        assert (status, headers["Content-Type"], body[: len(start)]) == (200, content_type, start)

    on_admin(talk)


@pytest.mark.parametrize("path", ["/", "/api/status", "/metrics", "/readyz", "/nothing", "/live.js"])
def test_every_answer_has_a_strict_content_policy_and_forbids_caching(on_admin, path):
    async def talk(served: Served) -> None:
        _status, headers, _body = await served.ask(f"GET {path}")
        assert headers["Content-Security-Policy"] == POLICY
        assert "unsafe" not in POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"

    on_admin(talk)


def test_a_unix_socket_serves_as_well(on_admin, tmp_path):
    async def talk(served: Served) -> None:
        assert (await served.ask("GET /healthz"))[0] == 200

    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "admin.sock"))
    sock.listen()
    on_admin(talk, sock)


def test_health_is_that_it_serves_and_readiness_that_haproxy_could_be_served(on_admin):
    async def talk(served: Served) -> None:
        async def ready() -> tuple[int, str]:
            status, _headers, body = await served.ask("GET /readyz")
            return status, body

        assert await ready() == (503, "not listening yet\n")
        served.health.listening = True
        not_yet = "default: ready, the agent was not dialled yet\n"
        assert await ready() == (200, not_yet + not_yet.replace("default", "other"))

        for session, route in ((1, "default"), (2, "other")):
            served.observer.session_opened(route, session, "")
        answers = AgentReady(16380, "", healthcheck=False, agent=AGENT)
        served.observer.seen("default", 1, [answers])
        served.observer.agent_dialled("other", AGENT, DialFailure.REFUSED, "127.0.0.1:9: Connection\nrefused")
        down = "other: the agent is unreachable: refused: 127.0.0.1:9: Connection\\nrefused\n"
        assert await ready() == (503, "default: ready\n" + down)
        served.observer.seen("other", 2, [answers])
        assert await ready() == (200, "default: ready\nother: ready\n")
        mute = AgentUnreachable(DialFailure.HAPROXY_GAVE_UP, "HAProxy waited 0.2 s", agent=AGENT)
        served.observer.seen("other", 2, [mute, mute, mute])
        unready = "other: the agent is unreachable: haproxy_gave_up: HAProxy waited 0.2 s\n"
        assert await ready() == (503, "default: ready\n" + unready)

        served.health.draining = True
        assert await ready() == (503, "draining: the guard is stopping\n")
        assert (await served.ask("GET /healthz"))[::2] == (200, "ok\n")

    on_admin(talk)


ANSWERS = [
    ("GET /nothing", 404),
    ("GET /page.html", 404),
    ("GET /live.css/", 404),
    ("GET /metrics/", 404),
    ("POST /nothing", 404),
    ("POST /metrics", 405),
    ("POST /", 405),
    ("PUT /live.js", 405),
    ("DELETE /healthz", 405),
    ("GET  /healthz", 400),
    ("/healthz", 400),
    ("", 400),
    ("\x16\x03\x01 \xff x", 400),
]


@pytest.mark.parametrize(("line", "status"), ANSWERS)
def test_other_requests_are_refused_by_the_book(on_admin, line, status):
    async def talk(served: Served) -> None:
        message, headers, _body = await served.ask(line)
        assert message == status
        assert headers.get("Allow") == ("GET, HEAD" if status == 405 else None)

    on_admin(talk)


def test_head_is_the_head_alone(on_admin):
    async def talk(served: Served) -> None:
        status, headers, body = await served.ask("HEAD /healthz")
        assert (status, headers["Content-Length"], body) == (200, "3", "")

    on_admin(talk)


def test_another_protocols_version_is_refused(on_admin):
    async def talk(served: Served) -> None:
        assert (await served.raw(b"GET /healthz SPOP/2.0" + END)).startswith(b"HTTP/1.1 400 ")
        assert (await served.raw(b"GET /healthz HTTP/1.0" + END)).startswith(b"HTTP/1.1 200 ")

    on_admin(talk)


@pytest.mark.parametrize(("excess", "status"), [(0, b"200"), (1, b"431"), (100_000, b"431")])
def test_a_request_is_bounded_in_bytes(on_admin, excess, status):
    async def talk(served: Served) -> None:
        start = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "
        request = start + b"x" * (MAX_REQUEST_BYTES + excess - len(start) - len(END)) + END
        assert len(request) == MAX_REQUEST_BYTES + excess
        assert (await served.raw(request)).split()[1] == status

    on_admin(talk)


def test_a_body_nobody_asked_for_does_not_cost_the_answer(on_admin):
    async def talk(served: Served) -> None:
        answer = await served.raw(b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30000" + END + b"x" * 30000)
        assert answer.startswith(b"HTTP/1.1 405 ")

    on_admin(talk)


def test_who_says_nothing_is_cut_in_time(on_admin, monkeypatch):
    monkeypatch.setattr(admin_module, "REQUEST_S", 0.1)

    async def talk(served: Served) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert not await _read_to_end(served, b"GET /healthz HTTP/1.1\r\n")
        assert 0.09 < loop.time() - started < 2

    on_admin(talk)


def test_who_has_its_answer_and_stays_is_cut_in_time(on_admin, monkeypatch):
    monkeypatch.setattr(admin_module, "REQUEST_S", 0.2)

    async def talk(served: Served) -> None:
        reader, writer = await served.connect()
        writer.write(HEALTHZ)
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200 ")
        assert len(served.admin._open) == 1
        await until(lambda: not served.admin._open)
        await hang_up(writer)

    on_admin(talk)


async def _read_to_end(served: Served, request: bytes) -> bytes:
    reader, writer = await served.connect()
    writer.write(request)
    data = b""
    with suppress(ConnectionResetError):
        while chunk := await asyncio.wait_for(reader.read(1000), 5):
            data += chunk
    await hang_up(writer)
    return data


async def told(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the end, or until a reset."""
    data = b""
    with suppress(ConnectionResetError):
        while chunk := await asyncio.wait_for(reader.read(1000), 5):
            data += chunk
    return data


def test_connections_are_bounded_in_number_and_the_oldest_silent_one_goes(on_admin):
    async def talk(served: Served) -> None:
        idle = [await served.connect() for _ in range(MAX_CONNECTIONS - 1)]
        await until(lambda: len(served.admin._open) == MAX_CONNECTIONS - 1)
        assert (await served.ask("GET /healthz"))[0] == 200  # the last place
        await until(lambda: len(served.admin._open) == MAX_CONNECTIONS - 1)
        idle.append(await served.connect())
        await until(lambda: len(served.admin._open) == MAX_CONNECTIONS)
        assert (await served.ask("GET /healthz"))[0] == 200  # one past it
        assert await told(idle[0][0]) == b""
        idle[1][1].write(HEALTHZ)
        assert (await told(idle[1][0])).startswith(b"HTTP/1.1 200 ")
        for _reader, writer in idle:
            await hang_up(writer)

    on_admin(talk)


def test_whatever_says_nothing_probes_are_answered(on_admin):
    async def talk(served: Served) -> None:
        idle = []
        for _ in range(MAX_CONNECTIONS + 8):
            idle.append(await served.connect())
            for path in ("/healthz", "/metrics"):
                assert (await served.ask(f"GET {path}"))[0] == 200
            assert len(served.admin._open) <= MAX_CONNECTIONS
        for _reader, writer in idle:
            await hang_up(writer)

    on_admin(talk)


@pytest.mark.parametrize("cut", [len(HEALTHZ), -3, -1])
def test_who_has_asked_stays_while_others_say_nothing(on_admin, cut):
    async def talk(served: Served) -> None:
        asked = await served.connect()
        asked[1].write(HEALTHZ[:cut])
        if HEALTHZ[cut:]:
            await until(lambda: any(client._last == HEALTHZ[:cut][-3:] for client, _writer in served.admin._open.values()))
            asked[1].write(HEALTHZ[cut:])
        assert (await told(asked[0])).startswith(b"HTTP/1.1 200 ")
        (task,) = served.admin._open
        idle = [await served.connect() for _ in range(MAX_CONNECTIONS + 8)]
        await until(lambda: len(served.admin._open) == MAX_CONNECTIONS)
        assert task in served.admin._open
        for each in [asked, *idle]:
            await hang_up(each[1])

    on_admin(talk)


def test_where_all_have_asked_the_oldest_goes(on_admin):
    async def talk(served: Served) -> None:
        stay = []
        for _ in range(MAX_CONNECTIONS):
            stay.append(await served.connect())
            stay[-1][1].write(HEALTHZ)
            assert (await told(stay[-1][0])).startswith(b"HTTP/1.1 200 ")
        first, *others = served.admin._open
        assert (await served.ask("GET /healthz"))[0] == 200
        await until(lambda: first not in served.admin._open)
        assert set(others) <= set(served.admin._open)
        for each in stay:
            await hang_up(each[1])

    on_admin(talk)


def test_what_is_made_for_one_that_goes_is_made_no_further(on_admin):
    async def talk(served: Served) -> None:
        over = []

        async def for_ever(_head):
            try:
                await asyncio.Event().wait()
            finally:
                over.append(None)

        served.admin._paths["/"] = for_ever
        asking = [await served.connect() for _ in range(MAX_CONNECTIONS)]
        for _reader, writer in asking:
            writer.write(HEALTHZ.replace(b"/healthz", b"/"))
        await until(lambda: all(client.whole for client, _writer in served.admin._open.values()))
        assert (await served.ask("GET /healthz"))[0] == 200
        await until(lambda: len(over) == 1)
        for _reader, writer in asking:
            await hang_up(writer)

    on_admin(talk)


def test_a_request_that_waits_in_the_kernel_is_no_silence(on_admin):
    """More connect in one turn of the loop than have a place, and the first of them has sent its request."""

    async def talk(served: Served) -> None:
        flood = [socket.create_connection(served.address) for _ in range(MAX_CONNECTIONS + 20)]
        flood[0].sendall(HEALTHZ)
        reader, writer = await asyncio.open_connection(sock=flood[0])
        assert (await told(reader)).startswith(b"HTTP/1.1 200 ")
        await hang_up(writer)
        for sock in flood[1:]:
            sock.close()

    on_admin(talk)


NAMES = ("Guard.example", "other-1")
ME, STRANGER = "Host: 127.0.0.1:9464", "Host: evil.example:9464"
HOSTS = [
    ("/", [ME], 200),
    ("/", ["Host: 127.0.0.1"], 200),
    ("/", ["host:10.1.2.3:80"], 200),
    ("/", ["Host: [::1]:9464"], 200),
    ("/", ["Host: [fe80::1]"], 200),
    ("/", ["Host: localhost:9464"], 200),
    ("/", ["Host: LOCALHOST."], 200),
    ("/", ["Host: guard.example:9464"], 200),
    ("/", ["Host: GUARD.example."], 200),
    ("/", ["Host: other-1"], 200),
    ("/api/status", [ME], 200),
    ("/", [STRANGER], 421),
    ("/api/status", [STRANGER], 421),
    ("/live.js", [STRANGER], 421),
    ("/nothing", [STRANGER], 421),
    ("/", ["Host: "], 421),
    ("/", ["Host: :9464"], 421),
    ("/", ["Host: xguard.example"], 421),
    ("/", ["Host: guard.example.evil"], 421),
    ("/", ["Host: 127.0.0.1.evil.example"], 421),
    ("/", ["Host: localhost.evil.example"], 421),
    ("/", ["Host: [evil.example]"], 421),
    ("/", ["Host: 127.0.0.1@evil.example"], 421),
    ("/metrics", [STRANGER], 200),  # whatever Prometheus calls its target
    ("/healthz", [STRANGER], 200),
    ("/readyz", [STRANGER], 503),
    ("/", [ME, STRANGER], 400),
    ("/metrics", [ME, ME], 400),
    ("/", [], 400),
    ("/healthz", [], 400),
]


@pytest.mark.parametrize(("path", "headers", "status"), HOSTS)
def test_only_a_host_that_no_web_page_can_have_is_served(on_admin, path, headers, status):
    async def talk(served: Served) -> None:
        served.admin.use(NAMES)
        answer = await served.raw("\r\n".join([f"GET {path} HTTP/1.1", *headers]).encode() + END)
        assert int(answer.split()[1]) == status
        if status == 421:
            assert answer.partition(END)[2].decode() == (
                "this Host is not served: ask by IP address, by localhost or by the name in admin.listen, "
                "or add the name to admin.hosts\n"
            )

    on_admin(talk)


def test_on_a_unix_socket_any_host_is_served(on_admin, tmp_path):
    async def talk(served: Served) -> None:
        assert (await served.raw(f"GET / HTTP/1.1\r\n{STRANGER}".encode() + END)).startswith(b"HTTP/1.1 200 ")

    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "admin.sock"))
    sock.listen()
    on_admin(talk, sock)


def test_stopping_cuts_whoever_is_still_asking(run, lines):
    async def main() -> None:
        async with serving(lines) as served:
            reader, writer = await served.connect()
            writer.write(b"GET /hea")
            await until(lambda: len(served.admin._open) == 1)
            started = time.monotonic()
        assert time.monotonic() - started < REQUEST_S / 2
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        await hang_up(writer)

    run(main())
