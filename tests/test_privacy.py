"""Nothing of what peers carry is told anywhere by default: every anomaly is played with a secret in the payloads."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from spoe_guard.capture.files.pcapng import packets
from spoe_guard.capture.record.capture_job import CaptureJob
from spoe_guard.capture.record.recorder import Recorder
from spoe_guard.capture.record.store import Folder, Store
from spoe_guard.capture.tell import commands
from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.output import Output
from spoe_guard.net.witness import Track
from spoe_guard.observe.health import Health
from spoe_guard.observe.incidents import Incidents
from spoe_guard.observe.live.page import Page
from spoe_guard.observe.live.status import Live
from spoe_guard.observe.metrics import Exposition, GuardMetrics
from spoe_guard.observe.observer import GuardObserver
from spoe_guard.options import DEFAULT_PAYLOAD, Payload
from spoe_guard.run.process import report_bugs
from spoe_guard.settings import load
from spoe_guard.wire import actions, frame, kv, messages, typed_data, walk
from tests.capture.scenes import Ends, Recorded, end
from tests.core import frames
from tests.core.scenes import SCENES, Scene
from tests.core.script import Talk
from tests.observe.conftest import Lines

SECRET = b"S3cr3t~Zq7Xw9Kv2Lm5Np8Rt4"
PIECE = 6  # bytes of it that count as found
H, A = Side.HAPROXY, Side.AGENT
BUILD = {"version": "0", "python": "3", "loop": "asyncio", "compiled": "false"}

# --- frames with the secret wherever a peer may write what it likes: names, keys, values, texts ---------------------------

ARGUMENT = kv.Pair(SECRET, typed_data.STR, SECRET)
NOTIFY = messages.encode([messages.Message(SECRET, [ARGUMENT, kv.Pair(b"session", typed_data.BIN, SECRET)])])
SET = actions.set_var(walk.SCOPE_TXN, SECRET, typed_data.STR, SECRET)
UNSET = actions.unset_var(walk.SCOPE_SESS, SECRET)
TRUE = actions.set_var(walk.SCOPE_TXN, SECRET, typed_data.BOOL, True)
KEY = kv.encode([ARGUMENT])
CUT = typed_data.encode_string(SECRET)


def hello_of_haproxy(text: str = "", **changes: object) -> bytes:
    return frames.haproxy_hello(**frames.HELLOS[text], **{SECRET.decode(): SECRET}, **changes)


def hello_of_agent(text: str = "") -> bytes:
    return frames.agent_hello(more=KEY, **frames.AGENT_HELLOS[text])


def disconnect_of(type_: int):
    return lambda status: frames.disconnect(type_, int(status or 0), SECRET)


NAMED = {
    "HAPROXY_HELLO": hello_of_haproxy,
    "AGENT_HELLO": hello_of_agent,
    "NOTIFY": lambda at: frames.notify(at, NOTIFY),
    "ACK": lambda at: frames.ack(at, SET),
    "UNSET": lambda at: frames.unset(at, SECRET),
    "HAPROXY_DISCONNECT": disconnect_of(frame.HAPROXY_DISCONNECT),
    "AGENT_DISCONNECT": disconnect_of(frame.AGENT_DISCONNECT),
}
LONG = SET * 400  # longer than what is offered
ODD = {
    (A, Anomaly.RUNT_FRAME): frames.raw(SECRET[:6]),
    (A, Anomaly.OVERSIZE_FRAME): frames.ack(payload=LONG),
    (A, Anomaly.GARBLED_STREAM): b"\xff\xff\xff\xff" + SECRET,
    (A, Anomaly.BAD_VARINT): frames.ack(payload=b"\2\2\2" + frames.ENDLESS + SECRET),
    (A, Anomaly.MISSING_FIN): frames.ack(payload=SET, flags=0),
    (A, Anomaly.RESERVED_FLAGS): frames.ack(payload=SET, flags=frames.FIN | frames.ABRT),
    (A, Anomaly.FRAGMENTED_ACK): frames.ack(payload=SET, flags=0) + frames.unset(payload=UNSET),
    (A, Anomaly.UNKNOWN_FRAME_TYPE): frame.encode(104, 1, 1, SECRET),
    (A, Anomaly.HELLO_MALFORMED): frames.agent_hello(more=kv.encode([kv.Pair(b"version" + SECRET, typed_data.STR, SECRET)])),
    (A, Anomaly.HELLO_VERSION): frames.agent_hello(version=b"2." + SECRET),
    (A, Anomaly.HELLO_SIZE): frames.agent_hello(max_frame_size=16381, more=KEY),
    (A, Anomaly.HELLO_CAPABILITY): frames.agent_hello(capabilities=b"async," + SECRET),
    (A, Anomaly.EMPTY_ACK): frames.ack(payload=b""),
    (A, Anomaly.ACK_STRAY_NULL): frames.ack(payload=UNSET + b"\0" + SET),
    (A, Anomaly.ACK_NULL_VALUE): frames.ack(payload=TRUE[:-1] + b"\0" + SET),
    (A, Anomaly.ACK_BAD_BOOL): frames.ack(payload=TRUE[:-1] + b"\x10" + SET),
    (A, Anomaly.ACK_MALFORMED): frames.ack(payload=SET + b"\7" + SECRET),
    (A, Anomaly.ACK_LONG_NAME): frames.ack(payload=SET + frames.LONG_NAME[:4] + (3 * SECRET)[:58]),
    (A, Anomaly.ACK_PROC_SCOPE): frames.ack(payload=actions.set_var(walk.SCOPE_PROC, SECRET, typed_data.STR, SECRET)),
    (A, Anomaly.DISCONNECT_BAD_IDS): frames.agent_disconnect(0, SECRET, at="1.1"),
    (A, Anomaly.DISCONNECT_MALFORMED): frames.agent_disconnect(0, SECRET * 9),
    (A, Anomaly.DISCONNECT_STATUS): frames.agent_disconnect(100, SECRET),
    (H, Anomaly.NOT_SPOP): b"GET /?session=" + SECRET + b" HTTP/1.1\r\n\r\n",
    (H, Anomaly.HELLO_MALFORMED): hello_of_haproxy(max_frame_size=b"1", engine_id=SECRET),
    (H, Anomaly.HELLO_VERSION): hello_of_haproxy(supported_versions=b"1." + SECRET),
    (H, Anomaly.RUNT_FRAME): frames.raw(SECRET[:6]),
    (H, Anomaly.OVERSIZE_FRAME): frames.notify(payload=NOTIFY * 300),
    (H, Anomaly.GARBLED_STREAM): b"\xff\xff\xff\xff" + SECRET,
    (H, Anomaly.BAD_VARINT): frames.notify(payload=frames.ENDLESS + SECRET),
    (H, Anomaly.UNKNOWN_FRAME_TYPE): frame.encode(104, 1, 1, SECRET),
    (H, Anomaly.RESERVED_FLAGS): frames.notify(payload=NOTIFY, flags=frames.FIN | frames.ABRT),
    (H, Anomaly.NOTIFY_OVERSIZE): frames.notify(payload=NOTIFY * 12),
    (H, Anomaly.NOTIFY_EMPTY): frames.notify(payload=b""),
    (H, Anomaly.NOTIFY_MALFORMED): frames.notify(payload=CUT + b"\1" + CUT + b"\x0f" + SECRET),  # there is no type 15
    (H, Anomaly.DISCONNECT_MALFORMED): frames.haproxy_disconnect(0, SECRET, at="1.1"),
}


# --- a session that is watched as by a guard ------------------------------------------------------------------------------


class Watched(Talk):
    """A scripted session that is reported to an observer and recorded."""

    def __init__(self, observer: GuardObserver, recorder: Recorder, choice: dict[Anomaly, Action] | None, **config: object):
        super().__init__(choice, **config)
        self._observer, self._recorder = observer, recorder
        recorder.begin("default", 1)
        self._tracks = {side: Track(1, side, 0) for side in Side}
        for track in self._tracks.values():
            recorder.met(track, Ends(1, 2))
        observer.session_opened("default", 1, "127.0.0.1:5")

    def lines(self, script: str) -> None:
        for line in filter(None, map(str.strip, script.splitlines())):
            who, _, what = " ".join(line.partition(" -> ")[0].split()).partition(" ")
            self._line(who, what)

    def over(self) -> None:
        self._recorder.over(1)
        self._observer.session_closed("default", 1)

    def _obey(self, out: Output, sent: bytes, passes: str) -> list[str]:
        side = H if passes == "to_agent" else A
        if sent:
            self._recorder.read(self._tracks[side], sent, self.now, out)
        else:
            self._recorder.note(1, side, 0, b"", self.now, out)
        self._observer.seen("default", 1, out.events)
        return super()._obey(out, sent, passes)


class Told:
    """All that is told of ``scene`` if so much of payloads may be."""

    def __init__(self, scene: Scene, action: Action, folder: Path, payload: Payload) -> None:
        lines, recorded = Lines(), Recorded(least="info", rate=(1000, 1.0))
        observer = GuardObserver(["default"], lines.log(payload=payload), 1000, payload=payload)
        observer.routes["default"].serve(["127.0.0.1:9000"])
        choice = {scene.anomaly: action} if action in CATALOGUE[scene.anomaly].allowed else None
        talk = Watched(observer, recorded.recorder, choice, **scene.config)
        talk.bytes.update(odd=ODD.get((scene.side, scene.anomaly), scene.odd), small=frames.agent_hello(max_frame_size=1000))
        talk.lines(scene.before.replace("[:9]", "[:60]"))
        talk.lines(scene.sent)
        self.met = {seen.anomaly for seen in talk.anomalies}
        self.sent = talk.sent[A] + talk.sent[H]
        talk.over()
        health = Health(observer.routes)
        live = Live(observer.routes, observer.incidents.take, health, BUILD)
        status, metrics = asyncio.run(self._views(live, Exposition(GuardMetrics(observer.routes, BUILD))))
        page = asyncio.run(Page().render(json.loads(status)))
        self.views = {"log": "\n".join(lines.lines).encode(), "/api/status": status, "page": page, "/metrics": metrics}
        captures = [b"".join(packets(take.capture(payload))) for take in recorded.takes]
        self.views |= {"captures": b"".join(captures), "decode": b"".join(_decoded(folder, captures))}

    async def _views(self, live: Live, exposition: Exposition) -> tuple[bytes, bytes]:
        return json.dumps(await live.status()).encode(), b"".join(await exposition.render())


def _decoded(folder: Path, captures: list[bytes]) -> Iterator[bytes]:
    for number, capture in enumerate(captures):
        file = folder / f"{number}.pcapng"
        file.write_bytes(capture)
        for as_json in (False, True):
            yield "\n".join(commands.decode(str(file), SessionConfig(), as_json=as_json)).encode()


def leaks(told: Told) -> list[str]:
    """Return where a piece of the secret stands, as it is or in hex."""
    pieces = [SECRET[at : at + PIECE] for at in range(len(SECRET) - PIECE + 1)]
    marks = [mark for piece in pieces for mark in (piece, piece.hex().encode())]
    return [f"{name}: {mark!r}" for name, view in told.views.items() for mark in marks if mark in view]


@pytest.fixture(autouse=True)
def _with_a_secret(monkeypatch):
    for name, make in NAMED.items():
        monkeypatch.setitem(frames.NAMED, name, make)


CASES = [
    pytest.param(scene, action, payload, id=f"{scene.side.value}-{scene.anomaly.value}-{action.value}-{payload}")
    for scene in SCENES
    for at, action in enumerate(scene.comes)
    for payload in ((DEFAULT_PAYLOAD, "off") if at == 0 else (DEFAULT_PAYLOAD,))
]


@pytest.mark.parametrize(("scene", "action", "payload"), CASES)
def test_no_anomaly_tells_anything_of_what_peers_carry(scene, action, payload, tmp_path):
    told = Told(scene, action, tmp_path, payload)
    assert scene.anomaly in told.met
    assert SECRET[:PIECE] in told.sent
    assert told.views["captures"]
    assert leaks(told) == []


# Where a peer's words go, beside the bytes themselves: in what the guard says of them, and in the line of the end.
QUOTED = (Anomaly.HELLO_CAPABILITY, Anomaly.HELLO_VERSION, Anomaly.HELLO_MALFORMED, Anomaly.HELLO_REFUSED, Anomaly.ACK_MALFORMED)


@pytest.mark.parametrize("scene", [s for s in SCENES if s.anomaly in QUOTED and s.side is A], ids=lambda s: s.anomaly.value)
def test_where_all_may_be_told_every_view_but_metrics_tells(scene, tmp_path):
    told = Told(scene, next(iter(scene.comes)), tmp_path, "full")
    assert {found.partition(":")[0] for found in leaks(told)} == told.views.keys() - {"/metrics"}


def test_the_default_is_headers_and_every_section_has_it():
    settings = load().settings
    assert {settings.payload, settings.admin.payload, settings.log.payload, settings.capture.payload} == {"headers"}
    page, log = Incidents(lambda: 0.0), Lines().log(payload=DEFAULT_PAYLOAD)
    assert page.payload == Folder(Path(), 1, 1).payload == log.payload == "headers"


# --- errors of the guard's own, whose messages may quote a peer ---------------------------------------------------------


def broken() -> BaseException:
    """An error that holds a payload, and one that came of it."""
    try:
        try:
            (b"\xff" + SECRET).decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"of {SECRET!r}") from error
    except ValueError as error:
        return error


@pytest.mark.parametrize(("payload", "quotes"), [("full", True), ("headers", False), ("off", False)])
def test_an_internal_error_says_where_and_not_what_with(payload, quotes):
    lines = Lines()
    GuardObserver(["default"], lines.log(payload=payload), 10).internal_error("default", 1, broken())
    [line] = lines.logged
    assert (SECRET.decode() in lines.lines[0]) == quotes
    assert "in broken" in line["exception"]
    assert "ValueError" in line["error"]
    assert [line["exception"].count(name) for name in ("UnicodeDecodeError", "ValueError")] >= [1, 1]


@pytest.mark.parametrize(("payload", "quotes"), [("full", True), ("headers", False)])
def test_what_the_loop_says_of_a_callback_is_told_without_its_arguments(payload, quotes):
    lines = Lines()

    def fails(_raw: bytes) -> None:
        raise broken()

    async def main() -> None:
        report_bugs(lines.log(payload=payload))
        asyncio.get_running_loop().call_soon(fails, SECRET)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    [line] = lines.logged
    assert (SECRET[:PIECE].decode() in lines.lines[0]) == quotes
    assert "in fails" in line["exception"]


def test_a_capture_that_fails_for_a_bug_of_ours_quotes_nothing(tmp_path, monkeypatch):
    def fails(_take: object, _payload: object) -> None:
        raise broken()

    monkeypatch.setattr(CaptureJob, "capture", fails)
    recorded, said = Recorded(), []
    session = recorded.session()
    recorded.go_wrong(session)
    end(session, recorded.now)
    store = Store(Folder(tmp_path, 10, 1 << 20), recorded.stats, lambda *line: said.append(line))
    assert store.submit(recorded.takes[0])
    assert store.close(10)
    [(_, event, fields)] = said
    assert (event, fields["error"]) == ("capture_failed", "ValueError")
