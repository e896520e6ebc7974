"""The rows, in the order of the chapter, and what the guard has to say of each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from tests.integration.haproxy import Options
from tests.integration.silence import scenes
from tests.integration.silence.row import WITHOUT, Row, Way
from tests.integration.silence.scenes import BURST, GIVE_UP_S
from tests.integration.silence.surfaces import Says

SOON_S: Final = 3.0  # so soon the guard says what is wrong, and that it is over
APPLET: Final = ("2.2", "2.6", "3.0")
CROWDSEC: Final = Options(hello="200ms", processing="500ms")  # what CrowdSec ships
SHORT_S: Final = 0.5  # its processing
HOLD_S: Final = 0.5  # `disconnect_hold`
PATIENT: Final = Options(hello="10s", processing="9s")
GONE: Final = Options(processing="2s", check=True)
GONE_PLAIN: Final = Options(processing="2s", plain_check=True)
ONE_AT_A_TIME: Final = Options(spoe=("no option pipelining", "no option async"))
TINY: Final = Options(spoe=("max-frame-size 256",))
GIVE_UP: Final = {"LINKS__GIVE_UP": f"{GIVE_UP_S:g}s"}
NOTHING_OLD: Final = {"NOTIFYs read too late": 0.0}

BARE: Final = Way(WITHOUT)
DEFAULTS: Final = "defaults"  # `unanswered: tell`, and nothing known of HAProxy's timeouts
TOLD: Final = "told"  # `haproxy:` says what spoe.conf does, so `unanswered: {set: error}` follows


def told(options: Options, **further: str) -> Mapping[str, str]:
    """Return the settings that say what spoe.conf says, and further ones."""
    return {
        "HAPROXY__TIMEOUT_PROCESSING": options.processing,
        "HAPROXY__TIMEOUT_HELLO": options.hello,
        "HAPROXY__SET_ON_ERROR": "error",
        **further,
    }


def ways(options: Options, says: Mapping[str, Sequence[Says]] = MappingProxyType({})) -> tuple[Way, ...]:
    """Return the three ways of most rows. ``says``: what is said with the defaults, where that is something else."""
    return BARE, Way(DEFAULTS, {}, says=says), Way(TOLD, told(options))


AGENT_DOWN: Final = frozenset({"SpoeGuardAgentDown"})
ONE_DOWN: Final = frozenset({"SpoeGuardAgentOfSeveralDown"})
UNANSWERED: Final = frozenset({"SpoeGuardUnanswered"})
DEGRADED: Final = frozenset({"SpoeGuardDegraded"})


def down(reason: str) -> Says:
    """Return what is said of an agent that cannot be reached. ``reason``: a regular expression for why."""
    return Says(
        "down",
        ready=False,
        within=SOON_S,
        sentence=f"unreachable: ({reason}): ",
        readyz=f"unreachable: ({reason}): ",
        metrics=("agent_up == 0", "agent_connect_failures_total >= 1"),
        log={"event": "^agent_unreachable$", "reason": f"^({reason})$"},
        alerts=AGENT_DOWN,
    )


def unanswered(reason: str, *metrics: str, alerts: frozenset[str] = UNANSWERED) -> Says:
    """Return what is said of an agent that is there and does not answer all of its NOTIFYs. ``reason``: as in the metric."""
    return Says(
        "degraded",
        ready=True,
        within=SOON_S,
        sentence="% of [0-9]+ NOTIFYs? in the last minute failed: ",
        readyz="ready",
        metrics=("agent_up == 1", f'unanswered_notifies_total[reason="{reason}"] >= 1', *metrics),
        log={"event": "^notifies_unanswered$", "reason": f"^{reason}$"},
        alerts=alerts,
        no_alerts=AGENT_DOWN,
    )


def waiting() -> Says:
    """Return what is said of NOTIFYs that wait, where nobody has said for how long HAProxy does."""
    return Says(
        "degraded",
        ready=True,
        within=SOON_S,
        sentence="[Aa] NOTIFY has waited for [1-9]",
        readyz="ready",
        metrics=("agent_up == 1", "oldest_open_notify_seconds >= 1"),
        alerts=DEGRADED,
        no_alerts=AGENT_DOWN,
    )


HUNG: Final = down("haproxy_gave_up|hello_timeout")
REFUSED: Final = down("refused")
LATE: Final = unanswered("deadline", "late_acks_total >= 1", alerts=UNANSWERED | {"SpoeGuardLateAcks"})
LOST: Final = unanswered("agent_gone", alerts=frozenset())
KILLED: Final = unanswered("agent_gone", alerts=DEGRADED)
UNCHECKED: Final = unanswered("agent_gone", "unchecked_notifies_total >= 1", alerts=DEGRADED | {"SpoeGuardUnchecked"})
MUTE: Final = replace(
    unanswered("deadline", alerts=frozenset()), log={"event": "^agent_link_lost$", "reason": "^deadline$"}, within=2 * SOON_S
)
BACK: Final = Says(
    "ok|repaired|degraded",  # what failed a few seconds ago still does
    ready=True,
    within=SOON_S,
    sentence="^(?!.*(unreachable|has waited))",
    readyz="ready",
    metrics=("agent_up == 1",),
    log={"event": "^agent_link_up$"},
    no_alerts=AGENT_DOWN,
)
SERVED: Final = Says("ok", ready=True, within=2 * SOON_S, sentence="Served", readyz="ready", metrics=("agent_up == 1",))
SERVES: Final = replace(BACK, log={})
GOES_ON: Final = replace(BACK, log={})
# Its links may have ended meanwhile, or none needs to be replaced: then the guard has asked the agent itself.
HEARD: Final = replace(BACK, log={"event": "^agent_(link_up|reachable)$"})
# It is served late; whether that is too late, only HAProxy knows.
SLOW: Final = replace(
    SERVED, state="degraded", sentence="% of the ACKs .* took longer than 0.5 s", alerts=frozenset({"SpoeGuardSlow"})
)
ONE_DEAD: Final = Says(
    "degraded",
    ready=True,
    within=SOON_S,
    sentence="not by every agent: .*refused",
    readyz="ready",
    metrics=("agent_up == 1", 'agent_connect_failures_total[reason="refused"] >= 1'),  # of two
    log={"event": "^agent_unreachable$", "reason": "^refused$"},
    alerts=ONE_DOWN,
    no_alerts=AGENT_DOWN,
)
TOO_LARGE: Final = unanswered("notify_dropped", alerts=frozenset({"SpoeGuardAnswersLost"}))
ONLY_CHECKS: Final = Says("ok", ready=True, within=SOON_S, sentence="Only health checks.*filter spoe", metrics=("agent_up == 1",))

_ROWS: Final = (
    Row(
        "S1",
        "an agent that hangs",
        "It accepts, and says nothing. 20 requests a second, and CrowdSec's timeouts: `hello` 200 ms, `processing` 500 ms.",
        scenes.hung,
        CROWDSEC,
        ways(CROWDSEC),
        hello_s=3600.0,
        quickly_on=("2.6",),
        says={"hung": [HUNG]},
    ),
    Row(
        "S2",
        "an agent that is slow",
        "Each answer takes 700 ms, and HAProxy waits 500 ms: 12 requests a second.",
        scenes.slow,
        CROWDSEC,
        ways(CROWDSEC, {"slow": [SLOW]}),
        answer_s=0.7,
        says={"slow": [LATE]},
    ),
    Row(
        "S3",
        "an agent that stands still",
        """SIGSTOP for 4 s under 100 requests a second, with CrowdSec's timeouts; those count that were made meanwhile. It says
how old NOTIFYs were when they were written to the agent's socket, and when the agent read them; none may be written too late
where the guard is told how long HAProxy waits. What stands in the socket of an
agent that has stopped is no longer the guard's to take back.""",
        scenes.stopped,
        CROWDSEC,
        tuple(
            replace(way, most={"NOTIFYs written too late": 0}) if way.name == TOLD else way
            for way in ways(CROWDSEC, {"stopped": [waiting(), HUNG], "goes on": [GOES_ON]})
        ),
        answer_s=0.02,
        quickly_on=("2.6",),
        says={"stopped": [HUNG], "goes on": [BACK]},
    ),
    Row(
        "S3 many connections",
        "an agent that stands still, and many connections",
        f"""The same after a burst of {BURST} requests, whose connections HAProxy keeps: each of them had a link when the agent
stopped. An answer takes 300 ms.""",
        scenes.stopped_on_many,
        CROWDSEC,
        (BARE, Way(TOLD, told(CROWDSEC))),
        answer_s=0.3,
        says={"serves": [SERVES], "stopped": [HUNG], "goes on": [HEARD]},
        most={"NOTIFYs written too late": 0},
    ),
    Row(
        "F1 plain check",
        "an agent that is gone, and a check that connects",
        "It was killed, and `links.give_up` (here 1 s) has passed. HAProxy has a plain `check`, and `timeout processing` 2 s.",
        scenes.dead,
        GONE_PLAIN,
        (
            BARE,
            Way(DEFAULTS, GIVE_UP),
            Way(TOLD, told(GONE_PLAIN, **GIVE_UP)),
            Way(f"{TOLD}, health: listen", told(GONE_PLAIN, **GIVE_UP, HEALTH="listen"), most={"UP": 0}),
        ),
        quickly_on=("2.6",),
        says={"gone": [REFUSED]},
    ),
    Row(
        "F1 spop-check",
        "an agent that is gone, and a check that speaks SPOP",
        "The same with `option spop-check`.",
        scenes.dead,
        GONE,
        (BARE, Way(DEFAULTS, GIVE_UP), Way(TOLD, told(GONE, **GIVE_UP))),
        most={"UP": 0},
        says={"gone": [REFUSED]},
    ),
    Row(
        "F2",
        "an agent that takes 3 s for HELLO",
        "HAProxy is willing to wait 10 s (`timeout hello 10s`, `processing 9s`).",
        scenes.slow_hello,
        PATIENT,
        ways(PATIENT),
        hello_s=3.0,
        on=APPLET,
        quickly_on=("2.6",),
        answered=True,
        says={"answered": [SERVED]},
    ),
    Row(
        "F3",
        "an agent that is killed with NOTIFYs in hand",
        "SIGKILL four times, back 0.3 s later, under 100 requests a second whose answers take 100 ms.",
        scenes.killed,
        Options(),
        (
            BARE,
            Way("tell", {}, waits=1.0),
            Way("{set: error}", told(Options()), waits=1.0),
            Way("empty-ack", {"UNANSWERED": "empty-ack"}, waits=1.0, says={"killed": [UNCHECKED]}, opens=True),
        ),
        answer_s=0.1,
        says={"killed": [KILLED]},
    ),
    *(
        Row(
            f"F4 {how}",
            f"a NOTIFY that is lost with its link ({how})",
            does,
            play,
            Options(),
            (BARE, Way("tell", {}, waits=waits), Way("{set: error}", told(Options()), waits=waits)),
            says={"lost": [LOST]},
        )
        for how, does, play, waits in (
            ("close", "The agent closes, with one NOTIFY open.", scenes.closes, 0.0),
            ("reset", "The agent resets the connection, with one NOTIFY open.", scenes.resets, 0.0),
            (
                "DISCONNECT",
                """The agent says DISCONNECT with one NOTIFY open, and leaves the connection open. The guard waits
`disconnect_hold` for the ACK that other agents send behind it, which HAProxy would lose.""",
                scenes.says_goodbye,
                HOLD_S,
            ),
        )
    ),
    Row(
        "F5",
        "an agent that comes back after 4 s",
        """Killed, and started again 4 s later, under 50 requests a second; those count that were made meanwhile. It says how
old the NOTIFYs were that it read then. With `links.give_up: 0` no request waits for it.""",
        scenes.back,
        CROWDSEC,
        (
            BARE,
            Way(DEFAULTS, {}, waits=SHORT_S),
            Way(TOLD, told(CROWDSEC), waits=SHORT_S, most=NOTHING_OLD),
            Way(
                f"{TOLD}, redispatch: unanswered",
                told(CROWDSEC, REDISPATCH="unanswered"),
                waits=SHORT_S,
                most=NOTHING_OLD,
            ),
            Way(f"{TOLD}, give_up: 0", told(CROWDSEC, LINKS__GIVE_UP="0"), says={"back": [GOES_ON]}, most=NOTHING_OLD),
        ),
        quickly_on=("2.6",),
        says={"gone": [REFUSED], "back": [HEARD]},
    ),
    Row(
        "W1",
        "a link that goes mute",
        "One connection is read and never answered again; others would be. Sixteen requests, one after the other.",
        scenes.mute_link,
        CROWDSEC,
        ways(CROWDSEC, {"mute": [waiting()]}),
        says={"mute": [MUTE]},
    ),
    Row(
        "W2",
        "two agents, the first of them gone",
        "`agent: [dead, live]`",
        scenes.first_dead,
        CROWDSEC,
        ways(CROWDSEC)[1:],
        answered=True,
        says={"first is dead": [ONE_DEAD]},
    ),
    Row(
        "W3",
        "an agent that refuses, and many clients",
        "Nobody listens at its address, HAProxy has `no option pipelining`, and 40 clients ask, 100 times a second.",
        scenes.refuses,
        ONE_AT_A_TIME,
        (
            BARE,
            Way(DEFAULTS, {}, waits=1.0),
            Way(TOLD, told(ONE_AT_A_TIME), waits=1.0),
            Way(f"{TOLD}, give_up: 0", told(ONE_AT_A_TIME, LINKS__GIVE_UP="0")),
        ),
        absent=True,
        most={"dials beyond those of one session": 0.0},
        quickly_on=("2.6",),
        says={"refuses": [REFUSED]},
    ),
    Row(
        "W8 too large",
        "a NOTIFY that does not fit",
        "The message does not fit into `max-frame-size` (here 256), and HAProxy sends it in fragments. 20 requests a second.",
        scenes.too_large,
        TINY,
        ways(TINY),
        on=APPLET,
        quickly_on=("2.6",),
        says={"too large": [TOO_LARGE]},
    ),
    Row(
        "W8 no event",
        "an agent that is never asked",
        "HAProxy says HELLO in health checks, and the message's event never happens: what should be checked goes on unchecked.",
        scenes.never_asked,
        Options(check=True),
        (BARE, Way(DEFAULTS, {})),
        says={"never asked": [ONLY_CHECKS]},
    ),
)
TABLE: Final[dict[str, Row]] = {row.id: row for row in _ROWS}
