"""Every row of the anomaly catalogue as a scene: its lead-up, its bytes, and the result of each allowed action."""

from dataclasses import dataclass, field

from spoe_guard.core.conversation.conversation import Conversation
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.frames import ENDLESS, FIN, MESSAGE, SET_VAR, UNSET_VAR, ack, agent_disconnect, agent_hello, notify, raw, unset
from tests.core.script import HANDSHAKE

PASS, DROP, REORDER, REPAIR, ANSWER, CLOSE = Action

OPEN = HANDSHAKE + "\nhaproxy NOTIFY 1.1 -> ok\n"
UP = "haproxy HAPROXY_HELLO -> held, dial\nagent up -> to_agent HAPROXY_HELLO\n"
CHECK = UP.replace("_HELLO ->", "_HELLO check ->", 1) + "agent AGENT_HELLO check -> to_haproxy AGENT_HELLO\n"
RUNTS = " + ".join(["<odd>"] * 4) + " -> " + ", ".join(["drop runt_frame"] * 4) + "\n"
LEAVING = OPEN + "agent AGENT_DISCONNECT 0 -> held, reorder disconnect_before_ack\n"

ASYNC = frozenset(("pipelining", "async"))
SHARED = """
    haproxy HAPROXY_HELLO applet -> held, dial
    agent   up                   -> to_agent HAPROXY_HELLO
    agent   AGENT_HELLO async    -> to_haproxy AGENT_HELLO
"""

TOLD = "to_agent HAPROXY_DISCONNECT {0}, to_haproxy AGENT_DISCONNECT {0}"
ENDED = TOLD.format(4)
GONE = f"pass notify_unanswered, unanswered agent_gone 1, {ENDED}"
LOST = "pass notify_unanswered, unanswered ack_dropped 1"
UNSENT = "pass notify_unanswered, unanswered notify_dropped 1"
PASSED = "to_haproxy ACK 1.1"
BYE = "to_agent HAPROXY_DISCONNECT 0, ok"
NEW_BYE = TOLD.format(0)
GONE_BYE = "to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13"


@dataclass
class Scene:
    """``sent`` is one line's sender and words, played behind ``before``; ``comes`` what follows the report, by action."""

    side: Side
    anomaly: Anomaly
    before: str
    sent: str
    comes: dict[Action, str]
    odd: bytes = b""
    config: dict[str, object] = field(default_factory=dict)


def agent(anomaly: Anomaly, before: str, sent: str, comes: dict[Action, str], odd: bytes = b"", **config: object) -> Scene:
    return Scene(Side.AGENT, anomaly, before, f"agent {sent}", comes, odd, config)


def haproxy(anomaly: Anomaly, before: str, sent: str, comes: dict[Action, str], odd: bytes = b"", **config: object) -> Scene:
    return Scene(Side.HAPROXY, anomaly, before, f"haproxy {sent}", comes, odd, config)


def elsewhere(at: str) -> RouteState:
    """Return the state of the route for session 1, of whose engine session 2 waits for the ACK of that NOTIFY."""
    route_state, waiting = RouteState(1), Conversation(SessionConfig(), Tally(), RouteState(2), 0.0).notifies
    waiting.link.ledger.add(frame.parse(notify(at)).ids, 0.0)
    route_state.engines.join(b"e1", 2, waiting)
    return route_state


A = Anomaly

FROM_AGENT = [
    # --- framing
    agent(A.RUNT_FRAME, OPEN, "<odd>", {DROP: "", CLOSE: GONE}, raw(b"")),
    agent(A.OVERSIZE_FRAME, OPEN, "<odd>", {
        DROP: LOST, CLOSE: GONE.replace("DISCONNECT 4", "DISCONNECT 3")}, frames.sized(103, frames.SIZE + 1)),
    agent(A.GARBLED_STREAM, OPEN, "<odd> + ACK 1.1", {
        REPAIR: f"repair interleaved_frames, to_agent HAPROXY_DISCONNECT 4, {PASSED}, to_haproxy AGENT_DISCONNECT 4",
        CLOSE: GONE}, b"\xff\xff\xff\xff"),
    agent(A.INTERLEAVED_FRAMES, OPEN + "agent <odd> -> held, repair disconnect_malformed\n", "ACK 1.1", {
        REPAIR: f"to_agent HAPROXY_DISCONNECT 0, {PASSED}, to_haproxy AGENT_DISCONNECT 0",
        CLOSE: GONE}, raw(b"\x66\0\0\0\1\0\0\x0bstatus-code")),
    agent(A.TRUNCATED_FRAME, OPEN + "agent ACK 1.1[:9] -> held\n", "fin", dict.fromkeys((DROP, CLOSE),
        "answer disconnect_missing, pass notify_unanswered, unanswered agent_gone 1, "
        "to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13, close agent")),
    agent(A.BAD_VARINT, OPEN, "<odd>", {DROP: LOST, CLOSE: GONE}, ack(payload=b"\2\2\2" + ENDLESS)),
    Scene(Side.AGENT, A.MISSING_FIN, OPEN + "agent <odd> -> held\n", "guard waits 0.01", {
        REPAIR: PASSED, DROP: LOST, CLOSE: GONE}, ack(flags=0)),
    agent(A.RESERVED_FLAGS, OPEN, "<odd>", {REPAIR: PASSED, PASS: "ok", DROP: LOST}, ack(flags=FIN | frames.ABRT)),
    agent(A.FRAGMENTED_ACK, OPEN, "<odd>", {REPAIR: PASSED, DROP: LOST}, ack(flags=0) + unset(payload=UNSET_VAR)),
    agent(A.UNKNOWN_FRAME_TYPE, OPEN, "<odd>", {DROP: "", PASS: "ok", CLOSE: GONE}, frame.encode(104, 1, 1)),
    agent(A.WRONG_SIDE_FRAME, OPEN, "NOTIFY 1.1", {DROP: "", CLOSE: GONE}),
    agent(A.IMPOSSIBLE_STREAM_ID, OPEN, "ACK 2147483648.1", {DROP: "", CLOSE: GONE}),
    agent(A.GLITCH_FLOOD, f"{OPEN}agent {RUNTS}", "<odd>", {CLOSE: GONE, PASS: ""}, raw(b""), glitches=4),
    # --- handshake
    agent(A.FRAME_BEFORE_HELLO, UP, "ACK 1.1 + AGENT_HELLO", {DROP: "to_haproxy AGENT_HELLO", CLOSE: ""}),
    agent(A.HELLO_MALFORMED, UP, "<odd>", {REPAIR: "to_haproxy AGENT_HELLO", CLOSE: ""}, agent_hello(without="capabilities")),
    agent(A.HELLO_VERSION, UP, "<odd>", {REPAIR: "to_haproxy AGENT_HELLO", CLOSE: ""}, agent_hello(version=b"2.1")),
    agent(A.HELLO_SIZE, UP, "<odd>", {REPAIR: "to_haproxy AGENT_HELLO", CLOSE: ""}, agent_hello(max_frame_size=16381)),
    agent(A.HELLO_CAPABILITY, UP, "<odd>", dict.fromkeys((REPAIR, PASS), "to_haproxy AGENT_HELLO"),
          agent_hello(capabilities=b"async")),
    agent(A.HELLO_REPEATED, OPEN, "AGENT_HELLO", {DROP: "", CLOSE: GONE}),
    agent(A.HELLO_TRAILING, CHECK, "AGENT_DISCONNECT 0", {DROP: "", PASS: "ok"}),
    agent(A.HELLO_REFUSED, UP, "AGENT_DISCONNECT 5", {
        ANSWER: "unreachable hello_refused", PASS: f"unreachable hello_refused, {BYE}"}),
    agent(A.AGENT_UNREACHABLE, "haproxy HAPROXY_HELLO -> held, dial\n", "fail", {
        ANSWER: "to_haproxy AGENT_HELLO, abort agent", PASS: "close haproxy, abort agent, end agent unreachable"}),
    # --- ACK
    agent(A.UNMATCHED_ACK, OPEN, "ACK 7.1", {DROP: "", PASS: "ok", CLOSE: GONE}),
    agent(A.DUPLICATE_ACK, OPEN + "agent ACK 1.1 -> ok\n", "ACK 1.1", {DROP: ""}),
    agent(A.LATE_ACK, OPEN + "guard waits 5 -> pass notify_unanswered, unanswered deadline 1\n", "ACK 1.1", {
        DROP: "", PASS: "ok"}, answer_deadline_s=5.0),
    agent(A.FOREIGN_ACK, SHARED, "ACK 9.1", {REORDER: "for 2", DROP: ""}, capabilities=ASYNC, route_state=elsewhere("9.1")),
    agent(A.EMPTY_ACK, OPEN, "<odd>", {REPAIR: PASSED, PASS: "ok"}, ack(payload=b"")),
    agent(A.ACK_STRAY_NULL, OPEN, "<odd>", {REPAIR: PASSED, DROP: LOST}, ack(payload=UNSET_VAR + b"\0" + SET_VAR)),
    agent(A.ACK_NULL_VALUE, OPEN, "<odd>", {REPAIR: PASSED, PASS: "ok", DROP: LOST}, ack(payload=SET_VAR[:-1] + b"\0")),
    agent(A.ACK_BAD_BOOL, OPEN, "<odd>", {REPAIR: PASSED, PASS: "ok", DROP: LOST}, ack(payload=SET_VAR[:-1] + b"\x10")),
    agent(A.ACK_MALFORMED, OPEN, "<odd>", {DROP: LOST, PASS: "ok", REPAIR: PASSED}, ack(payload=SET_VAR + b"\7")),
    agent(A.ACK_LONG_NAME, OPEN, "<odd>", {DROP: PASSED, PASS: "ok"}, ack(payload=SET_VAR + frames.LONG_NAME)),
    agent(A.ACK_PROC_SCOPE, OPEN, "<odd>", {PASS: "ok", DROP: PASSED}, ack(payload=SET_VAR + frames.PROC)),
    # --- NOTIFY
    agent(A.NOTIFY_UNANSWERED, OPEN + "agent AGENT_DISCONNECT 7 -> held, reorder disconnect_before_ack\n", "fin", {
        PASS: "unanswered agent_gone 1, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 7, close agent"}),
    # --- DISCONNECT
    agent(A.DISCONNECT_BEFORE_ACK, OPEN, "AGENT_DISCONNECT 7", {
        REORDER: "", PASS: f"pass notify_unanswered, unanswered agent_gone 1, {BYE}"}),
    agent(A.ACK_AFTER_DISCONNECT, LEAVING, "ACK 1.1", {
        REORDER: f"to_agent HAPROXY_DISCONNECT 0, {PASSED}, to_haproxy AGENT_DISCONNECT 0",
        DROP: f"{LOST}, repair disconnect_status, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13"}),
    agent(A.FRAME_AFTER_DISCONNECT, HANDSHAKE, "AGENT_DISCONNECT 0 + NOTIFY 1.1", {DROP: NEW_BYE}),
    agent(A.DISCONNECT_BAD_IDS, HANDSHAKE, "<odd>", {REPAIR: NEW_BYE}, agent_disconnect(0, at="1.1")),
    agent(A.DISCONNECT_MALFORMED, HANDSHAKE, "<odd>", {REPAIR: NEW_BYE}, agent_disconnect(0, b"x" * 201)),
    agent(A.DISCONNECT_STATUS, HANDSHAKE, "<odd>", {
        REPAIR: "to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 99", PASS: BYE}, agent_disconnect(100)),
    agent(A.DISCONNECT_REPEATED, LEAVING, "AGENT_DISCONNECT 0", {DROP: ""}),
    agent(A.DISCONNECT_MISSING, HANDSHAKE, "fin", {
        ANSWER: f"{GONE_BYE}, close agent", PASS: "to_agent HAPROXY_DISCONNECT 0, close haproxy, close agent, end agent closed"}),
]  # fmt: skip

FROM_HAPROXY = [
    haproxy(A.NOT_SPOP, "", "<odd>", {CLOSE: ""}, b"GET / HTTP/1.1\r\n\r\n"),
    haproxy(A.GLITCH_FLOOD, f"{OPEN}haproxy {RUNTS}", "<odd>", {CLOSE: GONE, PASS: ""}, raw(b""), glitches=4),
    haproxy(A.FRAME_BEFORE_HELLO, "", "NOTIFY 1.1", {CLOSE: ""}),
    haproxy(A.HELLO_MALFORMED, "", "<odd>", {CLOSE: "to_haproxy AGENT_DISCONNECT 4"}, frames.haproxy_hello(max_frame_size=b"1")),
    haproxy(A.HELLO_VERSION, "", "<odd>", {CLOSE: "to_haproxy AGENT_DISCONNECT 8"},
            frames.haproxy_hello(supported_versions=b"1.0")),
    haproxy(A.HELLO_REPEATED, OPEN, "HAPROXY_HELLO", {DROP: "", CLOSE: GONE}),
    haproxy(A.RUNT_FRAME, OPEN, "<odd> + NOTIFY 3.1", {DROP: "to_agent NOTIFY 3.1", CLOSE: GONE}, raw(b"")),
    haproxy(A.OVERSIZE_FRAME, HANDSHAKE, "<odd>", {DROP: UNSENT, CLOSE: TOLD.format(3)}, frames.sized(3, frames.SIZE + 1)),
    haproxy(A.GARBLED_STREAM, OPEN, "<odd>", {CLOSE: GONE}, b"\xff\xff\xff\xff"),
    haproxy(A.TRUNCATED_FRAME, HANDSHAKE + "haproxy NOTIFY 1.1[:9] -> held\n", "fin", dict.fromkeys((DROP, CLOSE),
        "to_agent HAPROXY_DISCONNECT 0, close haproxy")),
    haproxy(A.BAD_VARINT, HANDSHAKE, "<odd>", {DROP: UNSENT, CLOSE: ENDED}, notify(payload=ENDLESS)),
    haproxy(A.UNKNOWN_FRAME_TYPE, OPEN, "<odd>", {DROP: "", CLOSE: GONE}, frame.encode(104, 1, 1)),
    haproxy(A.WRONG_SIDE_FRAME, OPEN, "ACK 1.1", {DROP: "", CLOSE: GONE}),
    haproxy(A.RESERVED_FLAGS, HANDSHAKE, "<odd>", {REPAIR: "to_agent NOTIFY 1.1", PASS: "ok", DROP: UNSENT},
            notify(flags=FIN | frames.ABRT)),
    haproxy(A.NOTIFY_OVERSIZE, UP + "agent <small> -> to_haproxy AGENT_HELLO\n", "<odd>", {DROP: UNSENT, CLOSE: ENDED},
            frames.sized(3, 1001)),
    haproxy(A.NOTIFY_EMPTY, HANDSHAKE, "<odd>", {ANSWER: PASSED, PASS: "ok"}, notify(payload=b"")),
    haproxy(A.NOTIFY_MALFORMED, HANDSHAKE, "<odd>", {DROP: UNSENT, PASS: "ok", CLOSE: ENDED}, notify(payload=MESSAGE[:-1])),
    haproxy(A.NOTIFY_DUPLICATE, OPEN, "NOTIFY 1.1", {PASS: "ok", DROP: ""}),
    haproxy(A.FRAGMENT_REFUSED, HANDSHAKE, "UNSET 1.1", {DROP: "", CLOSE: ENDED}),
    haproxy(A.FRAME_AFTER_DISCONNECT, HANDSHAKE, "HAPROXY_DISCONNECT 0 + NOTIFY 1.1", {DROP: f"{NEW_BYE}, close haproxy"}),
    haproxy(A.DISCONNECT_MALFORMED, HANDSHAKE, "<odd>", {REPAIR: f"{NEW_BYE}, close haproxy"},
            frames.haproxy_disconnect(0, at="1.1")),
    haproxy(A.HAPROXY_REFUSED, OPEN, "HAPROXY_DISCONNECT 10", {PASS: "unanswered haproxy_gone 1, ok"}),
]  # fmt: skip

SCENES = FROM_AGENT + FROM_HAPROXY
