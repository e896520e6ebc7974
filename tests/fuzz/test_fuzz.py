"""The parts of the fuzzer, and that its seeds detect a broken guard; `make fuzz` runs libFuzzer itself."""

import importlib.util
import random

import pytest

from spoe_guard.core.conversation import outlet
from spoe_guard.core.conversation.ledger import Fate
from spoe_guard.core.incoming import walker
from spoe_guard.core.incoming.agent import from_agent, torn
from spoe_guard.core.terms.config import Unanswered
from spoe_guard.core.terms.events import AgentUnreachable, AuthoredReason, FrameAuthored, LinkLost, LinkUp, NotifiesUnanswered
from tests.builds import puts_in_place
from tests.captures.test_captures import AGENTS
from tests.fuzz import __main__ as command
from tests.fuzz.case import Case, decode, encode
from tests.fuzz.corpus import seeds
from tests.fuzz.finding import fault, shown, shrunk
from tests.fuzz.judge import judge
from tests.fuzz.mutator import Mutator
from tests.integration.hazards.table import TABLE
from tests.properties import spop
from tests.properties.conversations import AGENT, HAPROXY, Drain, Due, Leave, Move, Reach, Say, Wait, agent

PLAYS = 1500


@pytest.fixture(scope="module")
def corpus():
    return seeds()


def test_every_seed_keeps_every_promise(corpus):
    assert {name: sent for name, case in corpus.items() if (sent := fault(case))} == {}


def test_the_seeds_are_the_hazard_table_and_the_captures(corpus):
    assert {name.rpartition(" ")[0] for name in corpus} >= TABLE.keys()
    assert {name.split()[0] for name in corpus} >= set(AGENTS)


NAMED = {
    "lost": {NotifiesUnanswered: "agent_gone", LinkLost: "reset"},
    "overdue": {NotifiesUnanswered: "deadline"},
    "mute": {NotifiesUnanswered: "deadline", LinkLost: "deadline"},
    "away and back": {NotifiesUnanswered: "agent_away", AgentUnreachable: "refused"},
    "parked for too long": {NotifiesUnanswered: "deadline", LinkLost: "closed"},
    "late AGENT-HELLO": {AgentUnreachable: "hello_timeout"},
}


@pytest.mark.parametrize("way", Unanswered)
def test_the_seeds_of_absent_agents_are_what_they_are_called(corpus, way):
    for name, wanted in NAMED.items():
        events = judge(corpus[f"{name}, {way.value}"]).events
        for kind, reason in wanted.items():
            assert reason in [event.reason.value for event in events if isinstance(event, kind)], f"{name}, {way.value}"
        told = {event.type for event in events if isinstance(event, FrameAuthored) and event.reason is AuthoredReason.ANSWERED}
        assert (spop.AGENT_HELLO in told) == (name in ("away and back", "late AGENT-HELLO"))
        answered = way in (Unanswered.SET, Unanswered.EMPTY_ACK) and name != "late AGENT-HELLO"
        assert (spop.ACK in told) == answered, f"{name}, {way.value}"
        ups = sum(isinstance(event, LinkUp) for event in events)
        assert ups == (name == "late AGENT-HELLO" or answered) or name not in ("away and back", "late AGENT-HELLO")


def test_a_case_survives_being_bytes(corpus):
    moves: list[Move] = [Say(HAPROXY, b"a"), Say(AGENT, b"b" * 65535), Say(agent(3), b"c"), Wait(0.3), Drain(), Due()]
    moves += [Leave(HAPROXY), Leave(AGENT, reset=True), Leave(agent(2), reset=True), Reach(1), Reach(4, up=False)]
    for case in (*corpus.values(), Case(moves=moves).turned("open_notifies", 1)):
        assert decode(encode(case)) == case


def test_any_bytes_are_a_case_that_can_be_played():
    chance = random.Random(1)
    for size in range(300):
        case = decode(chance.randbytes(size))
        assert fault(case) == ""
        assert decode(encode(case)) == case


def test_mutated_seeds_keep_every_promise(corpus):
    chance, mutator = random.Random(2), Mutator(list(corpus.values()))
    cases = [mutator.mutate(case, chance, most=5000) for case in chance.choices(list(corpus.values()), k=PLAYS)]
    assert len({encode(case) for case in cases} - {encode(case) for case in corpus.values()}) > 0.8 * PLAYS
    assert [fault(case) + "\n" + shown(shrunk(case)) for case in cases if fault(case)] == []


def test_no_case_grows_beyond_what_it_is_told(corpus):
    chance, mutator, case = random.Random(3), Mutator(list(corpus.values())), Case()
    for _ in range(300):
        case = mutator.mutate(case, chance, most=700)
        assert sum(len(move.data) for move in case.moves if isinstance(move, Say)) <= 700


judge_ack = from_agent.judge_ack


def answered_twice(walker, sent, now):
    if walker.conv.notifies.fate(sent.ids) is Fate.ANSWERED:
        walker.pass_on(sent, sent.raw)
    else:
        judge_ack(walker, sent, now)


BREAKAGES = {
    "a side is written to behind its DISCONNECT": (outlet.Outlet, "seal", lambda self: None, "A3"),
    "an ACK passes twice": (from_agent, "judge_ack", answered_twice, "H3"),
    "what is held is not given back": (torn.TornStream, "discard", lambda self, walker: None, "held"),
    "a frame out of place passes": (
        walker.Walker, "unasked", lambda self, anomaly, sent, now, whole=None: self.pass_on(sent, sent.raw), "H",
    ),
}  # fmt: skip


@puts_in_place
@pytest.mark.parametrize("how", BREAKAGES)
def test_a_guard_that_is_broken_is_found_out_by_the_seeds(corpus, monkeypatch, how):
    where, name, broken, promise = BREAKAGES[how]
    monkeypatch.setattr(where, name, broken)
    sent = [found for case in corpus.values() if (found := fault(case))]
    assert any(promise in each for each in sent), sent[:3]


@puts_in_place
def test_what_is_found_is_shown_as_short_as_it_gets(corpus, monkeypatch):
    monkeypatch.setattr(outlet.Outlet, "seal", lambda self: None)
    found = next(case for case in corpus.values() if fault(case).startswith("AssertionError: A3"))
    small = shrunk(found)
    assert fault(small).startswith("AssertionError: A3")
    assert len(small.moves) < len(found.moves)
    assert shown(small).startswith("knobs = {}\n")
    assert f"Say(HAPROXY, bytes.fromhex('{small.moves[0].data.hex()}'))" in shown(small)


@puts_in_place
def test_a_finding_is_played_again_from_its_file(corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "HOME", tmp_path)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    file = tmp_path / "play"
    file.write_bytes(encode(Case(moves=[Say(HAPROXY, spop.haproxy_hello())])))
    assert command.show(file) == 0
    monkeypatch.setattr(outlet.Outlet, "seal", lambda self: None)
    file.write_bytes(encode(next(case for case in corpus.values() if fault(case))))
    assert command.show(file) == 1
    [small] = (tmp_path / "findings").iterdir()
    assert f"-m tests.fuzz findings/{small.name}" in capsys.readouterr().out
    assert command.show(small) == 1


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_atheris_it_says_so_and_fails_only_where_it_is_promised(monkeypatch, capsys, ci, code):
    monkeypatch.setattr("sys.argv", ["tests.fuzz"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("CI", ci)
    assert command.main() == code
    assert capsys.readouterr().out.startswith("skipped: atheris is not there")
