"""How each failure is staged. Where ``cast.hear`` stands, the guard has to say what its row has it say at that moment."""

import time
from typing import Final

from tests.integration.haproxy import wait_until
from tests.integration.load import Load
from tests.integration.silence.cast import ANSWERED, Cast, outcome
from tests.integration.silence.quiet import QuietAgent

PER_SECOND: Final = 100
CLIENTS: Final = 80  # at 100 requests a second they may wait 0.8 s each
CROWD: Final = 40
AWAY_S: Final = 4.0
BURST: Final = 300  # HAProxy 3.1 and later has at most 20 NOTIFYs open on a connection
RESTART_S: Final = 0.3
GIVE_UP_S: Final = 1.0  # `links.give_up` of F1
EARLIER_S: Final = 0.1
FALL_S: Final = 3.0  # for a health check to see it
PATIENCE_S: Final = 15.0
LONG: Final = 400 * "x"  # in a path: it does not fit into 256 bytes


def hung(cast: Cast) -> None:
    """S1: it accepts, and says nothing."""
    cast.begin()
    began = time.monotonic()
    with cast.load(CLIENTS, 20) as load:
        cast.hear("hung", began)
        _wait_for(load, 180 if cast.whole else 60)
    cast.count(load)
    cast.result.figures["connections to the agent"] = cast.agent.connections()


def slow(cast: Cast) -> None:
    """S2: each answer comes when HAProxy no longer waits."""
    cast.begin()
    began = time.monotonic()
    with cast.load(CLIENTS, 12) as load:
        cast.hear("slow", began)
        _wait_for(load, 120 if cast.whole else 36)
    cast.count(load)


def stopped(cast: Cast) -> None:
    """S3: it stands still with NOTIFYs in hand, and goes on."""
    _stands_still(cast, 0)


def stopped_on_many(cast: Cast) -> None:
    """S3: the same, and HAProxy has many connections, which it uses one after the other."""
    _stands_still(cast, BURST)


def _stands_still(cast: Cast, burst: int) -> None:
    tap = cast.tap()
    haproxy = cast.begin(tap.address)
    if burst:
        haproxy.get_all([f"/burst/{number}" for number in range(burst)])
    with cast.load(CLIENTS, PER_SECOND) as load:
        _wait_for(load, PER_SECOND)
        cast.hear("serves", time.monotonic())
        still = time.monotonic()
        cast.agent.stand_still()
        try:
            cast.hear("stopped", still)
            _wait_till(still + AWAY_S)
        finally:
            cast.agent.go_on()
        again = time.monotonic()
        cast.hear("goes on", again)
        _wait_for(load, len(load.seen) + PER_SECOND)
    cast.count(load, still, again)
    _ages(cast, load, tap.notifies(), "written")
    _ages(cast, load, cast.agent.notifies(), "read")


def dead(cast: Cast) -> None:
    """F1: it was there, and is gone for longer than `links.give_up`."""
    haproxy = cast.begin()
    wait_until(lambda: haproxy.health() == "UP", "UP with the agent", PATIENCE_S)
    _answers(cast)
    gone = time.monotonic()
    cast.agent.kill()
    _wait_till(gone + GIVE_UP_S)
    if cast.goes_down:
        wait_until(lambda: haproxy.health() == "DOWN", "DOWN without the agent", FALL_S)
    began = time.monotonic()
    with cast.load(1, 20) as load:
        cast.hear("gone", began)
        _wait_for(load, 50 if cast.whole else 8)
    cast.count(load)
    cast.result.figures["UP"] = float(haproxy.health() == "UP")


def slow_hello(cast: Cast) -> None:
    """F2: it takes its time for HELLO, and HAProxy has it."""
    cast.begin()
    began = time.monotonic()
    cast.ask(4, clients=4)
    cast.hear("answered", began)


def killed(cast: Cast) -> None:
    """F3: it is killed with NOTIFYs in hand, and started again."""
    cast.begin()
    gone = time.monotonic()
    with cast.load(CLIENTS, PER_SECOND) as load:
        for _ in range(4 if cast.whole else 1):
            _wait_for(load, len(load.seen) + 50)
            gone = time.monotonic()
            cast.agent.kill()
            _wait_till(gone + RESTART_S)
            cast.agent.start()
            _wait_answered(load)
        cast.hear("killed", gone)
    cast.count(load)
    if cast.guard is not None:
        cast.result.figures["counted as unchecked"] = cast.metric("unchecked_notifies_total")


def closes(cast: Cast) -> None:
    """F4: it closes with a NOTIFY open."""
    _lost(cast, "close")


def resets(cast: Cast) -> None:
    """F4: it resets with a NOTIFY open."""
    _lost(cast, "reset")


def says_goodbye(cast: Cast) -> None:
    """F4: it says DISCONNECT with a NOTIFY open, and leaves the connection open."""
    _lost(cast, "goodbye")


def _lost(cast: Cast, how: str) -> None:
    cast.begin()
    began = time.monotonic()
    for number in range(20 if cast.whole else 3):
        _answers(cast)
        cast.ask_one(f"/{how}/{number}")
    cast.hear("lost", began)


def back(cast: Cast) -> None:
    """F5: it is killed, and comes back."""
    cast.begin()
    with cast.load(CLIENTS, PER_SECOND / 2) as load:
        _wait_for(load, PER_SECOND // 2)
        gone = time.monotonic()
        cast.agent.kill()
        cast.hear("gone", gone)
        _wait_till(gone + AWAY_S)
        cast.agent.start()
        again = time.monotonic()
        _wait_answered(load)
        cast.hear("back", again)
    cast.count(load, gone, again)
    _ages(cast, load, [each for each in cast.agent.notifies() if each[1] >= gone], "read")


def mute_link(cast: Cast) -> None:
    """W1: one connection goes mute; others would be served."""
    cast.begin()
    _answers(cast)
    began = time.monotonic()
    cast.ask_one("/mute/0")
    cast.ask(15 if cast.whole else 7)
    cast.hear("mute", began)


def first_dead(cast: Cast) -> None:
    """W2: of two agents the first is not there."""
    gone = cast.stage.enter(QuietAgent(up=False))
    cast.begin(gone.address, cast.agent.address)
    began = time.monotonic()
    with cast.load(1, 20) as load:
        cast.hear("first is dead", began)
        _wait_for(load, 100 if cast.whole else 20)
    cast.count(load)


def refuses(cast: Cast) -> None:
    """W3: it is not there, and many clients ask."""
    haproxy = cast.begin()
    began = time.monotonic()
    with cast.load(CROWD, PER_SECOND) as load:
        cast.hear("refuses", began)
        _wait_for(load, 500 if cast.whole else 200)
    took = time.monotonic() - began
    cast.count(load)
    # HAProxy's own dials: those that failed are of the server as long as it is UP.
    cast.result.figures["dials a second by HAProxy"] = float(haproxy.stat()["econ" if cast.guard is None else "stot"]) / took
    if cast.guard is not None:
        dials = cast.metric("agent_dials_total")
        cast.result.figures["dials a second by the guard"] = dials / took
        cast.result.figures["dials beyond those of one session"] = max(0.0, dials - _one_session(took))
        cast.result.figures["the guard's share of a core"] = cast.guard.cpu_s() / took


def _one_session(seconds: float) -> int:
    """How often one session dials in that time: it waits a sixteenth of the time spent trying, less a quarter at the most."""
    at, dials = 0.0, 1
    while at < seconds:
        at += 0.75 * min(max(at / 16, 0.005), 0.25)
        dials += 1
    return dials


def never_asked(cast: Cast) -> None:
    """W8: HAProxy says HELLO (in health checks), and the event of the message never happens."""
    haproxy = cast.begin()
    began = time.monotonic()
    wait_until(lambda: haproxy.health() == "UP", "UP with the agent", PATIENCE_S)
    for _ in range(20):
        cast.ask_one("/ready")
    cast.hear("never asked", began)


def too_large(cast: Cast) -> None:
    """W8: HAProxy says HELLO, and finds that its NOTIFY does not fit."""
    cast.begin()
    began = time.monotonic()
    with cast.load(CLIENTS, 20, root="/" + LONG) as load:
        cast.hear("too large", began)
        _wait_for(load, 100 if cast.whole else 40)
    cast.count(load)
    cast.result.figures["connections to the agent"] = cast.agent.connections()


def _answers(cast: Cast) -> None:
    """Have one request answered, which does not count."""
    wait_until(lambda: cast.get("/load/0") == ANSWERED, "the agent answers", PATIENCE_S)


def _wait_for(load: Load, count: int) -> None:
    wait_until(lambda: len(load.seen) >= count, f"{count} requests", PATIENCE_S)


def _wait_answered(load: Load) -> None:
    """Wait until a request that is made now is answered."""
    before = set(load.asked_at.copy())

    def answered() -> bool:
        return any(outcome(seen, path) == ANSWERED for path, seen in load.seen.copy().items() if path not in before)

    wait_until(answered, "the agent answers", PATIENCE_S)


def _wait_till(when: float) -> None:
    """Wait for that time: how long something lasts is what the row is about."""
    time.sleep(max(0.0, when - time.monotonic()))


def _ages(cast: Cast, load: Load, notifies: list[tuple[str, float]], what: str) -> None:
    """How old NOTIFYs were: the oldest in seconds, and how many were older than HAProxy waits.

    Their age is counted from the client's request, which is a little earlier than HAProxy's own NOTIFY.
    """
    ages = [at - load.asked_at[path] for path, at in notifies if path in load.asked_at]
    cast.result.figures[f"oldest NOTIFY {what}, s"] = max(ages, default=0.0)
    cast.result.figures[f"NOTIFYs {what} too late"] = sum(age > cast.processing_s + EARLIER_S for age in ages)
