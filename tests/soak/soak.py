"""One run of the soak: rounds of load and silence, a line for each, and the checks."""

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.integration import generations
from tests.integration.guard import Guard
from tests.integration.haproxy import cpu_s, wait_until
from tests.integration.load import AgentProcess
from tests.soak.agent import FuzzingAgent
from tests.soak.peers import Clients, TwoAgents

GENERATIONS = ("2.6", "3.2")
ROUND_S = 10.0
SILENCE_S = 2.0  # of it, in which nobody asks anything and HAProxy's CPU is measured
QUIET_S = 5.0  # for the last answers: timeout processing and more
IDLE_CPU = 0.20  # of one core
GROWTH_KB = 32 * 1024  # the guard's memory behind the first round and at the end
WORDS = ("bogus", "spinning")  # what HAProxy's log says of a stream that spins


@dataclass
class Peer:
    """One HAProxy and who asks it what."""

    name: str
    haproxy: TwoAgents
    bad: Clients
    good: Clients
    busy: float = 0.0
    idle: float = 0.0
    worst: float = 0.0


class Soak:
    """Starts everybody in ``folder``."""

    def __init__(self, folder: Path, seed: int, mode: str = "enforce") -> None:
        self._folder, self._seed, self._mode = folder, seed, mode
        self._faults: list[str] = []
        self._first_kb = 0

    def run(self, seconds: int) -> int:
        """Return 0 where all held; it says line by line what it sees, and at the end what did not hold."""
        began = time.monotonic()
        print(f"soak for {seconds} s, seed {self._seed}", flush=True)
        found = [generations.find(name) for name in GENERATIONS]
        with ExitStack() as stack:
            self._agent = stack.enter_context(FuzzingAgent(self._seed))
            good = stack.enter_context(AgentProcess())
            agents = {"bad": self._agent.address, "good": good.address}
            self._guard = stack.enter_context(Guard(self._new("guard"), agents, mode=self._mode))
            routes = self._guard.addresses
            self._peers = []
            for each in found:
                haproxy = TwoAgents(self._new(each.name), routes["bad"], routes["good"], each.program)
                stack.enter_context(haproxy)
                bad = stack.enter_context(Clients(haproxy, "/bad", 12, 0.0))
                asks = stack.enter_context(Clients(haproxy, "/good", 2, 0.01))
                self._peers.append(Peer(each.name, haproxy, bad, asks))
            while not self._faults and time.monotonic() - began < seconds:
                self._round()
                print(self._line(time.monotonic() - began), flush=True)
                self._first_kb = self._first_kb or self._memory_kb()
            grown = self._memory_kb() - self._first_kb
            self._hold(grown <= GROWTH_KB, f"the guard has grown by {grown} kB")
            # what it holds and has open, and its errors, the guard itself is asked once HAProxy is gone: see Guard
        self._summary(time.monotonic() - began)
        return 1 if self._faults else 0

    def _new(self, name: str) -> Path:
        made = self._folder / name
        made.mkdir()
        return made

    def _hold(self, whether: object, what: str) -> None:
        if not whether:
            self._faults.append(what)

    def _round(self) -> None:
        clients = [each for peer in self._peers for each in (peer.bad, peer.good)]
        loaded, at = [self._cpu_s(peer) for peer in self._peers], time.monotonic()
        for each in clients:
            each.go()
        time.sleep(ROUND_S - SILENCE_S)  # the load is what this is about
        for each in clients:
            each.pause()
        wait_until(lambda: all(each.quiet for each in clients), "everybody has the last answer", QUIET_S)
        for peer, used in zip(self._peers, loaded, strict=True):
            peer.busy = (self._cpu_s(peer) - used) / (time.monotonic() - at)
        before, at = [self._cpu_s(peer) for peer in self._peers], time.monotonic()
        time.sleep(SILENCE_S)  # this is the measurement
        for peer, used in zip(self._peers, before, strict=True):
            peer.idle = (self._cpu_s(peer) - used) / (time.monotonic() - at)
            peer.worst = max(peer.worst, peer.idle)
            self._judge(peer)
        self._hold(self._guard.metric("spoe_guard_internal_errors_total") == 0, "the guard had an error of its own")

    def _cpu_s(self, peer: Peer) -> float:
        return cpu_s(peer.haproxy.process.pid) if peer.haproxy.alive() else 0.0

    def _judge(self, peer: Peer) -> None:
        name = f"HAProxy {peer.name}"
        self._hold(peer.haproxy.alive(), f"{name} died: {peer.haproxy.process.poll()}\n{peer.haproxy.log()[-2000:]}")
        self._hold(peer.idle < IDLE_CPU, f"{name} uses {peer.idle:.0%} of a core when nobody asks it anything")
        sent = peer.haproxy.log().lower()
        self._hold(not any(word in sent for word in WORDS), f"{name} logged a spinning stream:\n{sent[-2000:]}")
        self._hold(not peer.good.failed, f"{name}: the good agent's answer did not arrive: {peer.good.failed[:5]}")

    def _memory_kb(self) -> int:
        status = Path(f"/proc/{self._guard.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def _line(self, seconds: float) -> str:
        guard = self._guard
        parts = [
            f"{seconds:4.0f} s  {self._agent.player.plays} plays on {self._agent.connections} connections",
            *(
                f"{each.name}: good {each.good.seen['ok']}, bad {_counted(each.bad.seen)}"
                f", CPU {each.busy:.0%}, idle {each.idle:.1%}"
                for each in self._peers
            ),
            f"guard: {self._memory_kb() // 1024} MB",
            f"held {guard.metric('spoe_guard_held_bytes'):.0f}, open {guard.metric('spoe_guard_open_notifies'):.0f}",
        ]
        return " | ".join(parts)

    def _summary(self, seconds: float) -> None:
        good = sum(peer.good.seen.total() for peer in self._peers)
        answered = sum(peer.good.seen["ok"] for peer in self._peers)
        worst = ", ".join(f"{peer.name} {peer.worst:.1%}" for peer in self._peers)
        bad: Counter[str] = sum((peer.bad.seen for peer in self._peers), Counter())
        print(
            f"{seconds:.0f} s, seed {self._seed}: {self._agent.player.plays} plays on {self._agent.connections} connections; "
            f"good agent: {answered} of {good} requests answered; the other: {_counted(bad)}; "
            f"most CPU of an idle HAProxy: {worst}"
        )
        for fault in self._faults:
            print(f"FAULT: {fault}")


def _counted(seen: Counter[str]) -> str:
    return " ".join(f"{what} {count}" for what, count in seen.most_common(6))
