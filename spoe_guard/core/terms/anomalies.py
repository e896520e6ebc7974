"""The anomaly catalogue: every departure from SPOP the guard has a name for, and what may be done about it.

The names are label values of ``spoe_guard_anomalies_total`` and keys of ``policy:`` in the
settings: an interface. One row per anomaly, in one table.
"""

import enum
from collections.abc import Callable
from typing import Final

from spoe_guard.core.terms.family import Family


@enum.unique
class Side(enum.Enum):
    """Who wrote the bytes."""

    HAPROXY = "haproxy"
    AGENT = "agent"


@enum.unique
class Action(enum.Enum):
    """What the guard does about an anomaly."""

    PASS = "pass"
    DROP = "drop"
    REORDER = "reorder"
    REPAIR = "repair"
    ANSWER = "answer"
    CLOSE = "close"


SEVERITIES: Final = ("info", "warning", "error")  # in ascending order


def severity(action: Action) -> str:
    """Return what a capture of ``action`` counts as: info if everything passed unchanged, error if a session ends."""
    return "info" if action is Action.PASS else "error" if action is Action.CLOSE else "warning"


@enum.unique
class Anomaly(enum.Enum):
    """A departure from the protocol, by its name in metrics, logs and settings."""

    # framing
    RUNT_FRAME = "runt_frame"
    OVERSIZE_FRAME = "oversize_frame"
    GARBLED_STREAM = "garbled_stream"
    INTERLEAVED_FRAMES = "interleaved_frames"
    TRUNCATED_FRAME = "truncated_frame"
    BAD_VARINT = "bad_varint"
    MISSING_FIN = "missing_fin"
    RESERVED_FLAGS = "reserved_flags"
    FRAGMENTED_ACK = "fragmented_ack"
    UNKNOWN_FRAME_TYPE = "unknown_frame_type"
    WRONG_SIDE_FRAME = "wrong_side_frame"
    IMPOSSIBLE_STREAM_ID = "impossible_stream_id"
    NOT_SPOP = "not_spop"
    GLITCH_FLOOD = "glitch_flood"
    # handshake
    FRAME_BEFORE_HELLO = "frame_before_hello"
    HELLO_MALFORMED = "hello_malformed"
    HELLO_VERSION = "hello_version"
    HELLO_SIZE = "hello_size"
    HELLO_CAPABILITY = "hello_capability"
    HELLO_REPEATED = "hello_repeated"
    HELLO_TRAILING = "hello_trailing"
    HELLO_REFUSED = "hello_refused"
    AGENT_UNREACHABLE = "agent_unreachable"
    # ACK
    UNMATCHED_ACK = "unmatched_ack"
    DUPLICATE_ACK = "duplicate_ack"
    LATE_ACK = "late_ack"
    FOREIGN_ACK = "foreign_ack"
    EMPTY_ACK = "empty_ack"
    ACK_STRAY_NULL = "ack_stray_null"
    ACK_NULL_VALUE = "ack_null_value"
    ACK_BAD_BOOL = "ack_bad_bool"
    ACK_MALFORMED = "ack_malformed"
    ACK_LONG_NAME = "ack_long_name"
    ACK_PROC_SCOPE = "ack_proc_scope"
    # NOTIFY
    NOTIFY_OVERSIZE = "notify_oversize"
    NOTIFY_EMPTY = "notify_empty"
    NOTIFY_MALFORMED = "notify_malformed"
    NOTIFY_DUPLICATE = "notify_duplicate"
    NOTIFY_UNANSWERED = "notify_unanswered"
    FRAGMENT_REFUSED = "fragment_refused"
    # DISCONNECT
    DISCONNECT_BEFORE_ACK = "disconnect_before_ack"
    ACK_AFTER_DISCONNECT = "ack_after_disconnect"
    FRAME_AFTER_DISCONNECT = "frame_after_disconnect"
    DISCONNECT_BAD_IDS = "disconnect_bad_ids"
    DISCONNECT_MALFORMED = "disconnect_malformed"
    DISCONNECT_STATUS = "disconnect_status"
    DISCONNECT_REPEATED = "disconnect_repeated"
    DISCONNECT_MISSING = "disconnect_missing"
    HAPROXY_REFUSED = "haproxy_refused"


CountOnly = Callable[[Side, Anomaly, Action], bool]  # whether one is counted, and nobody wants to be told more of it


class Row:
    """What the catalogue says of one anomaly.

    ``default``: the action where the settings say nothing. ``allowed``: every action that may be chosen, the
    default among them. ``haproxy_default``, ``haproxy_allowed``: the same for what HAProxy sent, given as
    ``haproxy``, the default first, where it differs. ``applet_default``: the default for what goes to a HAProxy known to
    be 3.0 or older, given as ``applet``, where it differs. ``ends``: the families of HAProxy whose process ends, or one of
    whose connections stands still for good, where one of them gets what the agent sent as it came; ``costs_answer``: a request
    loses an answer there. What the guard itself does about it costs neither.
    """

    __slots__ = (
        "allowed", "applet_default", "costs_answer", "default", "ends", "evidence", "haproxy_allowed", "haproxy_default",
        "sentence",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913  the columns of the table
        self,
        sentence: str,
        default: Action,
        also: tuple[Action, ...] = (),
        *,
        evidence: str,
        haproxy: tuple[Action, ...] = (),
        applet: Action | None = None,
        ends: tuple[Family, ...] = (),
        costs_answer: bool = False,
    ) -> None:
        self.sentence = sentence
        self.default = default
        self.allowed = frozenset((default, *also))
        self.evidence = evidence
        self.haproxy_default = haproxy[0] if haproxy else default
        self.haproxy_allowed = frozenset(haproxy) or self.allowed
        self.applet_default = applet or default
        self.ends = frozenset(ends)
        self.costs_answer = costs_answer


_PASS, _DROP, _REORDER, _REPAIR, _ANSWER, _CLOSE = Action
_APPLET, _MUX = Family.APPLET, Family.MUX

CATALOGUE: Final[dict[Anomaly, Row]] = {
    Anomaly.RUNT_FRAME: Row(
        "a frame of fewer than 7 bytes; it carries nothing, and HAProxy before 3.0-dev6 spins on it until its watchdog aborts it",
        _DROP, (_CLOSE,), evidence="haproxy #2490, fixed by eb89e4f3e", ends=(_APPLET,)),
    Anomaly.OVERSIZE_FRAME: Row(
        "a frame longer than was negotiated; HAProxy ends the connection over it, or stalls it",
        _DROP, (_CLOSE,), evidence="flt_spoe.c, mux_spop.c: status 3", costs_answer=True),
    Anomaly.GARBLED_STREAM: Row(
        "bytes that cannot be cut into frames; whole ACKs found with certainty behind the break are delivered, then the session ends",
        _REPAIR, (_CLOSE,), haproxy=(_CLOSE,), evidence="coraza-spoa #217: unlocked writers in the agent", costs_answer=True),
    Anomaly.INTERLEAVED_FRAMES: Row(
        "a frame written into the middle of another one; an ACK found whole in there is delivered",
        _REPAIR, (_CLOSE,), evidence="criteo/haproxy-spoe-go writes ACK and DISCONNECT through one unlocked buffer", costs_answer=True),
    Anomaly.TRUNCATED_FRAME: Row(
        "the stream ended, or stood still, inside a frame; the part is discarded and the session ends",
        _DROP, (_CLOSE,), evidence="flt_spoe.c: status 1; mux_spop.c: status 4"),
    Anomaly.BAD_VARINT: Row(
        "an integer that does not end, is longer than 10 bytes, wraps, or counts beyond the frame; it crashes HAProxy before bd03f0500",
        _DROP, (_CLOSE,), evidence="haproxy bd03f0500", ends=(_APPLET, _MUX)),
    Anomaly.MISSING_FIN: Row(
        "a whole frame without the FIN flag; HAProxy takes it for a fragment, which it refuses",
        _REPAIR, (_DROP, _CLOSE), evidence="flt_spoe.c, mux_spop.c: status 10", costs_answer=True),
    Anomaly.RESERVED_FLAGS: Row(
        "the ABRT flag or a reserved flag is set where it means nothing",
        _REPAIR, (_PASS, _DROP), evidence="SPOE.txt 3.2.1"),
    Anomaly.FRAGMENTED_ACK: Row(
        "an ACK in several fragments, which no HAProxy takes; they are put together where they all come and fit into one frame",
        _REPAIR, (_DROP,), evidence="haproxy-spoa-dotnet, spoa-php", costs_answer=True),
    Anomaly.UNKNOWN_FRAME_TYPE: Row(
        "a frame of a type nobody may send",
        _DROP, (_PASS, _CLOSE), haproxy=(_DROP, _CLOSE), evidence="SPOE.txt 3.2.2", costs_answer=True),
    Anomaly.WRONG_SIDE_FRAME: Row(
        "a frame of a type only the other side may send",
        _DROP, (_CLOSE,), evidence="SPOE.txt 3.2.2", costs_answer=True),
    Anomaly.IMPOSSIBLE_STREAM_ID: Row(
        "a frame that no NOTIFY asked for, with a stream-id that HAProxy cannot have; it may end HAProxy 3.1.8 to 3.5-dev5",
        _DROP, (_CLOSE,), evidence="mux_spop.c: spop_process_demux", ends=(_MUX,)),
    Anomaly.NOT_SPOP: Row(
        "the first bytes are not SPOP (HTTP, TLS, a PROXY header or noise); the agent is not dialled",
        _CLOSE, evidence="coraza-spoa #219, negasus/haproxy-spoe-go PR 9"),
    Anomaly.GLITCH_FLOOD: Row(
        "more anomalies of one side than `limits.glitches`, and more than four for each NOTIFY; one peer would cost all others time",
        _CLOSE, (_PASS,), evidence="4.5 MB of runts behind a HELLO stopped every other route of a guard without this bound for 12 s"),
    Anomaly.FRAME_BEFORE_HELLO: Row(
        "a frame before the HELLO that must come first",
        _DROP, (_CLOSE,), haproxy=(_CLOSE,), evidence="SPOE.txt 3.2.3"),
    Anomaly.HELLO_MALFORMED: Row(
        "a HELLO with a key missing, of the wrong type, or that HAProxy would take for another one",
        _REPAIR, (_CLOSE,), haproxy=(_CLOSE,), evidence="SPOE.txt 3.2.4, 3.2.5; status 4 to 7", costs_answer=True),
    Anomaly.HELLO_VERSION: Row(
        "a HELLO for another version than 2.0",
        _REPAIR, (_CLOSE,), haproxy=(_CLOSE,), evidence="flt_spoe.c, mux_spop.c: status 8", costs_answer=True),
    Anomaly.HELLO_SIZE: Row(
        "an AGENT-HELLO whose max-frame-size is absent, below 256 or above what was offered",
        _REPAIR, (_CLOSE,), evidence="status 6 and 9; krrg, negasus", costs_answer=True),
    Anomaly.HELLO_CAPABILITY: Row(
        "an AGENT-HELLO with a capability that was not offered",
        _REPAIR, (_PASS,), evidence="negasus always announces pipelining and async", costs_answer=True),
    Anomaly.HELLO_REPEATED: Row(
        "a second HELLO; HAProxy 3.1 and later would renegotiate in mid-connection",
        _DROP, (_CLOSE,), evidence="mux_spop.c"),
    Anomaly.HELLO_TRAILING: Row(
        "bytes behind the AGENT-HELLO of a health check, for which HAProxy 3.1 and later calls the agent DOWN",
        _DROP, (_PASS,), evidence="spop-check: invalid frame received", costs_answer=True),
    Anomaly.HELLO_REFUSED: Row(
        "the agent sent DISCONNECT in place of HELLO; its reason is lost on HAProxy 3.1 and later",
        _ANSWER, (_PASS,), evidence="SPOE.txt 3.2.5; mux_spop.c: status 4", ends=(_APPLET,)),
    Anomaly.AGENT_UNREACHABLE: Row(
        "the agent cannot be dialled, or does not speak; HAProxy is told so",
        _ANSWER, (_PASS,), evidence="flt_spoe.c reconnects without pause, st=2"),
    Anomaly.UNMATCHED_ACK: Row(
        "an ACK for a NOTIFY that was never open here; HAProxy 3.1 and later throws away the good ones behind it",
        _DROP, (_PASS, _CLOSE), evidence="mux_spop.c: status 12", costs_answer=True),
    Anomaly.DUPLICATE_ACK: Row(
        "a second ACK for one NOTIFY; HAProxy 3.1 and later may run the actions of both",
        _DROP, evidence="mux_spop.c", costs_answer=True),
    Anomaly.LATE_ACK: Row(
        "an ACK for a NOTIFY that was given up",
        _DROP, (_PASS,), evidence="flt_spoe.c in sync mode: status 12", costs_answer=True),
    Anomaly.FOREIGN_ACK: Row(
        "an ACK for a NOTIFY of another connection of the same engine; it goes out there, where that is certain",
        _REORDER, (_DROP,), evidence="capability async", costs_answer=True),
    Anomaly.EMPTY_ACK: Row(
        "an ACK without an action; the NOTIFY stalls on HAProxy 3.1.0 to 3.1.6",
        _REPAIR, (_PASS,), evidence="haproxy 851e52b55, coraza-spoa #162", applet=_PASS, costs_answer=True),
    Anomaly.ACK_STRAY_NULL: Row(
        "a zero byte behind an UNSET-VAR; every HAProxy silently skips the actions behind it",
        _REPAIR, (_DROP,), evidence="negasus/haproxy-spoe-go, all versions", costs_answer=True),
    Anomaly.ACK_NULL_VALUE: Row(
        "a SET-VAR with NULL for a value; HAProxy before 2.0.19 and 2.2.5 gives the variable what was left of another",
        _REPAIR, (_PASS, _DROP), evidence="haproxy #855, fixed by 2469eba20", costs_answer=True),
    Anomaly.ACK_BAD_BOOL: Row(
        "a boolean that HAProxy reads as something else",
        _REPAIR, (_PASS, _DROP), evidence="negasus/haproxy-spoe-go before 1.0.6, PR 22", costs_answer=True),
    Anomaly.ACK_MALFORMED: Row(
        "actions that do not parse to the last byte; HAProxy would apply some of them and say nothing",
        _DROP, (_PASS, _REPAIR), evidence="spoe_decode_actions stops silently", costs_answer=True),
    Anomaly.ACK_LONG_NAME: Row(
        "a variable name that HAProxy would over-read: scope, prefix and name beyond 63 bytes; that action is left out",
        _DROP, (_PASS,), evidence="haproxy 23a2811b6"),
    Anomaly.ACK_PROC_SCOPE: Row(
        "an action on a process-wide variable: one answer reaches every transaction; drop leaves out that action",
        _PASS, (_DROP,), evidence="SPOE.txt 3.4"),
    Anomaly.NOTIFY_OVERSIZE: Row(
        "a NOTIFY larger than this agent negotiated; it overflows the heap of the C agents",
        _DROP, (_CLOSE,), evidence="spoa-mirror #40, haproxy ce8c2d359"),
    Anomaly.NOTIFY_EMPTY: Row(
        "a NOTIFY without a message, on which agents crash; the guard answers it",
        _ANSWER, (_PASS,), evidence="haproxy dc6e8dde2"),
    Anomaly.NOTIFY_MALFORMED: Row(
        "a NOTIFY whose messages do not parse to the last byte",
        _DROP, (_PASS, _CLOSE), evidence="ends every process built on negasus/haproxy-spoe-go"),
    Anomaly.NOTIFY_DUPLICATE: Row(
        "a NOTIFY with the ids of one that is still open",
        _PASS, (_DROP,), evidence="SPOE.txt 3.2.6"),
    Anomaly.NOTIFY_UNANSWERED: Row(
        "a NOTIFY the agent did not and will not answer; `unanswered:` says what HAProxy gets for it",
        _PASS, evidence="haproxy #2478"),
    Anomaly.FRAGMENT_REFUSED: Row(
        "a fragment that continues no NOTIFY, or the first one of another while the last is still to come; or one of fewer than 64 "
        "bytes, of a NOTIFY that was dropped, which is not the last",
        _DROP, (_CLOSE,), evidence="SPOE.txt 3.2, 3.5: status 11"),
    Anomaly.DISCONNECT_BEFORE_ACK: Row(
        "AGENT-DISCONNECT while NOTIFYs are open; it is held so that their ACKs can pass first",
        _REORDER, (_PASS,), evidence="negasus/haproxy-spoe-go 1.0.7 sends DISCONNECT, then ACK", costs_answer=True),
    Anomaly.ACK_AFTER_DISCONNECT: Row(
        "an ACK behind the agent's own DISCONNECT; HAProxy would throw it away (st=256, 257)",
        _REORDER, (_DROP,), evidence="negasus/haproxy-spoe-go 1.0.7, criteo/haproxy-spoe-go", costs_answer=True),
    Anomaly.FRAME_AFTER_DISCONNECT: Row(
        "anything else behind a DISCONNECT",
        _DROP, evidence="SPOE.txt 3.2.8, 3.2.9"),
    Anomaly.DISCONNECT_BAD_IDS: Row(
        "a DISCONNECT with ids other than 0, which wedges a connection of HAProxy 3.1 and later",
        _REPAIR, evidence="mux_spop.c", ends=(_MUX,)),
    Anomaly.DISCONNECT_MALFORMED: Row(
        "a DISCONNECT that HAProxy would not take, and would wait behind",
        _REPAIR, evidence="spoe_handle_agentdiscon_frame", ends=(_APPLET, _MUX)),
    Anomaly.DISCONNECT_STATUS: Row(
        "a status code outside 0 to 99, or 0 (normal) while NOTIFYs stay unanswered",
        _REPAIR, (_PASS,), evidence="flt_spoe.c: stall; mux_spop.c: index out of its table", costs_answer=True),
    Anomaly.DISCONNECT_REPEATED: Row(
        "a second DISCONNECT",
        _DROP, evidence="SPOE.txt 3.2.9"),
    Anomaly.DISCONNECT_MISSING: Row(
        "the agent closed, or died, without a DISCONNECT; the guard says it",
        _ANSWER, (_PASS,), evidence="SPOE.txt 3.2.9"),
    Anomaly.HAPROXY_REFUSED: Row(
        "HAProxy's DISCONNECT names fragments (status 10: it may not send any, and `no option send-frag-payload` in spoe-agent helps, "
        "or an ACK had no FIN), or a frame that was too long for it (3)",
        _PASS, evidence="flt_spoe.c: status 3 and 10; up to 3.0 it connects again at once"),
}  # fmt: skip
