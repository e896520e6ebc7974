"""States of a guard for the page: an observer and its history, filled as sessions would."""

import math
from collections.abc import Callable

from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import (
    AgentReady,
    AnomalySeen,
    DialFailure,
    HaproxyKnown,
    LinkReason,
    LinkUp,
    NotifiesUnanswered,
    UnansweredReason,
)
from spoe_guard.core.terms.family import Family
from spoe_guard.observe.health import Health
from spoe_guard.observe.live.history import POINTS, STEP_S
from spoe_guard.observe.live.states import State
from spoe_guard.observe.live.status import Live, Place
from spoe_guard.observe.observer import GuardObserver
from spoe_guard.options import Payload
from spoe_guard.wire import actions, frame, kv, messages, typed_data, walk

BUILD = {"version": "0.1.0", "python": "3.11.7", "loop": "uvloop", "compiled": "false"}

# What a peer may call a message, a variable or itself, hoping that somebody's browser reads it.
HOSTILE = (
    "<script>window.owned = 1</script>",
    '"><img src=x onerror="window.owned = 2">',
    "'\"></p></article></details><h1 id=verdict>All is well.</h1>",
    "{{ 7 * 7 }}{% raw %}",
    "[bold red]x[/] [/nothing] [@click=app.quit]y[/]",
    "W" * 60,  # and wider than a phone
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A guard that has ``routes`` and serves nobody."""

    def __init__(self, log, *routes: str, mode: str = "enforce", payload: Payload = "full") -> None:
        routes = routes or ("default",)
        self.clock = Clock()
        self.observer = GuardObserver(routes, log, 10, clock=self.clock, payload=payload)
        self.agents = {name: [f"10.0.3.{at + 7}:9000"] for at, name in enumerate(routes)}
        for name in routes:
            self.serve(name, *self.agents[name])
        self.health = Health(self.observer.routes)
        self.health.listening = True
        self.live = Live(self.observer.routes, self.observer.incidents.take, self.health, BUILD, mode, self.clock)
        self.live.places = {
            name: Place(f"127.0.0.1:{12345 + at}", ", ".join(self.agents[name]), mode) for at, name in enumerate(routes)
        }
        self._next = 0

    def serve(self, route: str, *agents: str) -> None:
        """Set the addresses of the agent, as run/process.py does."""
        self.agents[route] = list(agents)
        self.observer.routes[route].serve(agents)

    def session(self, route: str, *, check: bool = False) -> int:
        self._next += 1
        self.observer.session_opened(route, self._next, "127.0.0.1:5000")
        self.answers(route, check=check)
        self.observer.link_opened(route, self.agents[route][-1])
        return self._next

    def answers(self, route: str, agent: str = "", *, check: bool = False) -> None:
        """Dial an agent, the last of the route, and get its HELLO."""
        agent = agent or self.agents[route][-1]
        self.observer.agent_dialled(route, agent, None, "")
        ready = AgentReady(16380, "pipelining", healthcheck=check, agent=agent)
        self.observer.seen(route, self._next, [ready, LinkUp(LinkReason.CHECK if check else LinkReason.FIRST)])

    def refuses(self, route: str, agent: str = "", detail: str = "Connection refused") -> None:
        """Dial an agent, the first of the route, in vain."""
        agent = agent or self.agents[route][0]
        self.observer.agent_dialled(route, agent, DialFailure.REFUSED, f"{agent}: {detail}")

    def acks(self, route: str, count: int, seconds: float) -> None:
        """NOTIFYs that came and were answered."""
        tally = self.observer.routes[route].tally
        tally.frames_to_agent[frame.NOTIFY] += count
        tally.frames_to_haproxy[frame.ACK] += count
        tally.bytes_to_agent += 320 * count
        tally.bytes_to_haproxy += 60 * count
        for share, late in ((0.9, 1.0), (0.09, 3.0), (0.01, 10.0)):
            for _ in range(math.ceil(count * share)):
                tally.observe_ack(seconds * late)

    def step(self, times: int = 1, each: Callable[[int], None] = lambda _step: None) -> None:
        for at in range(times):
            each(at)
            self.clock.now += STEP_S
            self.sample()

    def sample(self) -> None:
        for name in self.live.history.sample(self.clock.now):
            self.live.verdict(name)

    def traffic(self, steps: int = POINTS + 5) -> None:
        """Something that looks like an evening."""

        def busy(step: int) -> None:
            for at, route in enumerate(self.observer.routes):
                wave = 1 + 0.4 * math.sin(step / 9 + at) + 0.15 * math.sin(step * 1.7 + at)
                self.acks(route, int(60 * wave / (1 + at % 3)), 0.0018 * (1 + 0.5 * math.sin(step / 17 + at)))
                self.observer.routes[route].tally.open_notifies = int(3 * wave)

        self.step(steps, busy)

    def anomaly(self, route: str, session: int, anomaly: Anomaly, action: Action, sample: bytes = b"", **more) -> None:
        parsed = frame.parse(sample) if len(sample) > frame.IDS_AT else None
        ids = {"type": parsed.type, "stream_id": parsed.stream_id, "frame_id": parsed.frame_id} if parsed else {}
        length = walk.length_at(sample, 0) if len(sample) >= frame.LENGTH_BYTES else len(sample)
        fields = {"side": Side.AGENT, "state": "RUNNING", "length": length, **ids, **more}
        self.observer.seen(route, session, [AnomalySeen(anomaly=anomaly, action=action, sample=sample[:256], **fields)])


def just_started(log) -> Scene:
    return Scene(log, "default")


def healthy(log) -> Scene:
    scene = Scene(log, "checkout", "login")
    for _ in range(6):
        scene.session("checkout")
        scene.session("login")
    scene.traffic()
    return scene


def agent_down(log) -> Scene:
    scene = healthy(log)
    scene.refuses("login")
    scene.observer.seen("login", 2, [NotifiesUnanswered(UnansweredReason.AGENT_GONE, 3)])

    def quiet(_step: int) -> None:
        scene.acks("checkout", 55, 0.002)
        scene.observer.routes["login"].tally.open_notifies = 0
        scene.refuses("login")

    scene.step(9, quiet)
    return scene


def one_of_several(log) -> Scene:
    """An address that refuses, one that was never tried, and one that serves, slowly; requests went on unchecked."""
    scene = Scene(log, "checkout")
    scene.serve("checkout", "10.0.3.7:9000", "unix:/run/a-folder-with-a-long-name/agent.sock", "10.0.3.9:9000")
    scene.observer.routes["checkout"].tally.late_after = 0.1
    scene.session("checkout")
    scene.refuses("checkout")
    scene.traffic()
    scene.acks("checkout", 20, 0.07)
    gone = NotifiesUnanswered(UnansweredReason.AGENT_GONE, 3, unchecked=3, agents=(("10.0.3.9:9000", 3),))
    scene.observer.seen("checkout", 1, [gone])
    scene.observer.routes["checkout"].oldest = lambda: 2.25
    scene.observer.routes["checkout"].open_on = lambda: {"10.0.3.9:9000": 3}
    scene.observer.routes["checkout"].given_to = lambda: {"10.0.3.7:9000": 17, "10.0.3.9:9000": 7_520}
    return scene


def ack(stream_id: int, name: bytes, value: bytes) -> bytes:
    return frame.encode(frame.ACK, stream_id, 1, actions.set_var(walk.SCOPE_TXN, name, typed_data.STR, value))


def notify(stream_id: int, name: bytes, *args: kv.Pair) -> bytes:
    return frame.encode(frame.NOTIFY, stream_id, 1, messages.encode([messages.Message(name, list(args))]))


def disconnect(message: bytes) -> bytes:
    pairs = [kv.Pair(b"status-code", typed_data.UINT32, 0), kv.Pair(b"message", typed_data.STR, message)]
    return frame.encode(frame.AGENT_DISCONNECT, 0, 0, kv.encode(pairs))


def anomalies(log, payload: Payload = "full") -> Scene:
    scene = Scene(log, "checkout", "login", payload=payload)
    sessions = {name: scene.session(name) for name in ("checkout", "login")}
    scene.traffic()
    for step in range(7):
        scene.anomaly("checkout", sessions["checkout"], Anomaly.UNMATCHED_ACK, Action.DROP, ack(90 + step, b"score", b"12"))
        scene.step(3, lambda step: [scene.acks(route, 50 + step, 0.002) for route in sessions])
    hostile(scene, "checkout", sessions["checkout"])
    scene.anomaly("checkout", 1, Anomaly.RUNT_FRAME, Action.DROP, bytes(4), offset=4096)
    scene.step(1, lambda _step: [scene.acks(route, 50, 0.002) for route in sessions])
    scene.anomaly("login", 2, Anomaly.NOT_SPOP, Action.CLOSE, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", side=Side.HAPROXY,
                  state="HELLO", detail="HTTP")  # fmt: skip
    scene.anomaly("checkout", 1, Anomaly.DISCONNECT_BEFORE_ACK, Action.REORDER, disconnect(b"idle timeout"),
                  open_notifies=3, offset=88123)  # fmt: skip
    scene.clock.now += 2.5
    return scene


def incidents(log, payload: Payload = "full") -> Scene:
    """One of each level, of which some are over."""
    scene = Scene(log, "checkout", "login", payload=payload)
    for name in ("checkout", "login"):
        scene.session(name)
    scene.traffic()
    scene.anomaly("login", 2, Anomaly.LATE_ACK, Action.DROP, ack(90, b"score", b"12"))
    scene.observer.accept_failed("login", "Too many open files")
    scene.step(8, lambda _step: [scene.acks(route, 50, 0.002) for route in ("checkout", "login")])
    for detail in ("the first", "between", "the last"):
        scene.anomaly("checkout", 1, Anomaly.RUNT_FRAME, Action.PASS, bytes(4), detail=detail)
        scene.observer.seen("checkout", 1, [NotifiesUnanswered(UnansweredReason.DEADLINE, 761 if detail != "between" else 0)])
        scene.clock.now += 2
    runts = scene.observer.incidents.find("checkout", ("anomaly", "agent", "runt_frame", "pass", "true"))
    for at in ("20260301T031407.120403Z", "20260301T031527.541877Z"):
        runts.recorded(f"/var/lib/spoe-guard/spoe-guard-{at}-checkout-1-runt_frame-2214.pcapng")
    scene.anomaly("checkout", 1, Anomaly.UNMATCHED_ACK, Action.DROP, ack(91, b"score", b"12"))
    scene.anomaly("checkout", 1, Anomaly.UNMATCHED_ACK, Action.PASS, ack(93, b"score", b"12"))
    scene.refuses("checkout")
    return scene


def repaired(log) -> Scene:
    """An agent that sends its DISCONNECT before its ACKs, and frames of length 0; nobody felt it."""
    scene = healthy(log)
    for _ in range(3):
        scene.anomaly("login", 2, Anomaly.DISCONNECT_BEFORE_ACK, Action.REORDER, disconnect(b"idle timeout"), open_notifies=3)
        for stream_id in (91, 93):
            scene.anomaly("login", 2, Anomaly.ACK_AFTER_DISCONNECT, Action.REORDER, ack(stream_id, b"score", b"12"))
        scene.anomaly("login", 2, Anomaly.RUNT_FRAME, Action.DROP, bytes(4))
        scene.step(1, lambda _step: [scene.acks(route, 50, 0.002) for route in ("checkout", "login")])
    return scene


def degraded(log) -> Scene:
    """An agent that is too slow for a part of the NOTIFYs."""
    scene = healthy(log)
    scene.observer.seen("login", 2, [HaproxyKnown(Family.MUX)])

    def slow(_step: int) -> None:
        scene.acks("checkout", 55, 0.002)
        scene.acks("login", 40, 0.2)
        scene.observer.seen("login", 2, [NotifiesUnanswered(UnansweredReason.DEADLINE, 6)])

    scene.step(9, slow)
    return scene


def in_danger(log) -> Scene:
    """In observe mode a frame of length 0 reaches an HAProxy that it ends."""
    scene = Scene(log, "checkout", "login", mode="observe")
    for name in ("checkout", "login"):
        scene.session(name)
    scene.observer.seen("login", 2, [HaproxyKnown(Family.APPLET)])
    scene.traffic()
    for _ in range(3):
        scene.anomaly("login", 2, Anomaly.RUNT_FRAME, Action.DROP, bytes(4), applied=False)
        for stream_id in (91, 93):
            scene.anomaly("login", 2, Anomaly.MISSING_FIN, Action.REPAIR, frame.encode(frame.ACK, stream_id, 1, b"", flags=0),
                          applied=False)  # fmt: skip
        scene.step(1, lambda _step: [scene.acks(route, 50, 0.002) for route in ("checkout", "login")])
    return scene


def hostile(scene: Scene, route: str, session: int) -> None:
    """Each hostile text as the name of a message, of an argument, of a variable, as a value, and as what the guard quotes.

    Two make an incident of HAProxy's, and two one of the agent's: its first and its last.
    """
    haproxys = (Anomaly.NOTIFY_DUPLICATE, Anomaly.NOTIFY_EMPTY, Anomaly.IMPOSSIBLE_STREAM_ID)
    agents = (Anomaly.DUPLICATE_ACK, Anomaly.ACK_LONG_NAME, Anomaly.ACK_MALFORMED)
    for at, text in enumerate(HOSTILE):
        name = text.encode()
        ip = kv.Pair(b"client_ip", typed_data.STR, b"198.51.100.7")
        sample = notify(7 + 2 * at, name, ip, kv.Pair(name, typed_data.STR, name))
        scene.anomaly(route, session, haproxys[at // 2], Action.PASS, sample, side=Side.HAPROXY, detail=text)
        scene.anomaly(route, session, agents[at // 2], Action.DROP, ack(8 + 2 * at, name, name), open_notifies=at)
    (agent,) = scene.observer.routes[route].agents.values()
    agent.detail = HOSTILE[0]


def many_routes(log) -> Scene:
    scene = Scene(log, *(f"team-{at:02}-bot-detection" for at in range(40)))
    for at, name in enumerate(scene.observer.routes):
        if at % 7:
            scene.session(name)
    scene.traffic(40)
    scene.observer.agent_dialled(
        "team-11-bot-detection", "10.0.3.18:9000", DialFailure.TIMEOUT, "10.0.3.18:9000: no answer in 1 s"
    )
    scene.anomaly("team-05-bot-detection", 2, Anomaly.EMPTY_ACK, Action.PASS, frame.encode(frame.ACK, 1, 1))
    return scene


def draining_observer(log) -> Scene:
    scene = Scene(log, "default", mode="observe")
    scene.anomaly("default", scene.session("default"), Anomaly.MISSING_FIN, Action.REPAIR,
                  frame.encode(frame.ACK, 5, 1, b"", flags=0), applied=False)  # fmt: skip
    scene.health.draining = True
    return scene


ALL: dict[str, Callable[..., Scene]] = {
    "just-started": just_started,
    "healthy": healthy,
    "agent-down": agent_down,
    "one-of-several": one_of_several,
    "anomalies": anomalies,
    "incidents": incidents,
    "repaired": repaired,
    "degraded": degraded,
    "in-danger": in_danger,
    "many-routes": many_routes,
    "observe": draining_observer,
}
# A scene for each of the five states: that of one of its routes, and of the guard.
STATES: dict[State, str] = {
    State.OK: "healthy",
    State.REPAIRED: "repaired",
    State.DEGRADED: "degraded",
    State.DANGER: "in-danger",
    State.DOWN: "agent-down",
}
