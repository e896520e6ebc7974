"""The anomaly catalogue: each row occurs, each allowed action is taken, and the table that operators rely on is stable."""

import pytest

from spoe_guard.core.terms.anomalies import CATALOGUE, SEVERITIES, Action, Anomaly, Side, severity
from spoe_guard.core.terms.family import Family
from tests.core import frames
from tests.core.scenes import SCENES, Scene
from tests.core.script import Talk

pytestmark = pytest.mark.usefixtures("both_speeds")

CASES = [(scene, action) for scene in SCENES for action in scene.comes]


@pytest.mark.parametrize(("scene", "action"), CASES, ids=[f"{s.side.value}-{s.anomaly.value}-{a.value}" for s, a in CASES])
def test_each_row_is_met_and_each_action_taken(scene: Scene, action: Action) -> None:
    choice = {scene.anomaly: action} if action in CATALOGUE[scene.anomaly].allowed else None
    talk = Talk(choice, **scene.config)
    talk.bytes.update(odd=scene.odd, small=frames.agent_hello(max_frame_size=1000))
    reports = len(talk.play(scene.before).anomalies)
    talk.play(f"{scene.sent} -> {outcome(scene, action)}")
    assert [
        (seen.side, seen.action, seen.applied, seen.state != "")
        for seen in talk.anomalies[reports:]
        if seen.anomaly is scene.anomaly
    ] == [(scene.side, action, True, True)]


def outcome(scene: Scene, action: Action) -> str:
    """Put the report where the script has it: behind what is held or unreachable, in front of the rest."""
    report = f"{action.value} {scene.anomaly.value}"
    if scene.anomaly is Anomaly.AGENT_UNREACHABLE:
        report = f"unreachable refused, {report}"
    if scene.anomaly is Anomaly.GLITCH_FLOOD:
        report = f"drop runt_frame, {report}"  # the last straw
    held = "held, " if scene.anomaly is Anomaly.DISCONNECT_BEFORE_ACK and action is Action.REORDER else ""
    return f"{held}{report}" + (f", {scene.comes[action]}" if scene.comes[action] else "")


def allowed(side: Side, anomaly: Anomaly) -> frozenset[Action]:
    return CATALOGUE[anomaly].allowed if side is Side.AGENT else CATALOGUE[anomaly].haproxy_allowed


def test_no_row_is_left_out_and_no_action_of_it() -> None:
    assert {scene.anomaly for scene in SCENES} == set(CATALOGUE)
    assert {(s.side, s.anomaly): set(s.comes) for s in SCENES} == {
        (s.side, s.anomaly): set(allowed(s.side, s.anomaly)) for s in SCENES
    }
    assert len({(s.side, s.anomaly) for s in SCENES}) == len(SCENES)


def test_the_catalogue_has_a_row_with_sentence_and_evidence_for_each_anomaly() -> None:
    assert list(CATALOGUE) == list(Anomaly)
    for anomaly, row in CATALOGUE.items():
        assert row.default in row.allowed, anomaly
        assert len(row.sentence) > 10, anomaly
        assert not row.sentence.endswith("."), anomaly
        assert row.evidence, anomaly
        assert not (row.ends and row.costs_answer), anomaly
        assert row.ends <= {Family.APPLET, Family.MUX}, anomaly


# --- what operators rely on ----------------------------

# What is looked for in what each side sends: the default, then what else may be chosen. Settings and alerts rest on it, so that
# a change here is one for operators.
FROM_AGENT = """
runt_frame: drop, close
oversize_frame: drop, close
garbled_stream: repair, close
interleaved_frames: repair, close
truncated_frame: drop, close
bad_varint: drop, close
missing_fin: repair, drop, close
reserved_flags: repair, pass, drop
fragmented_ack: repair, drop
unknown_frame_type: drop, pass, close
wrong_side_frame: drop, close
impossible_stream_id: drop, close
frame_before_hello: drop, close
hello_malformed: repair, close
hello_version: repair, close
hello_size: repair, close
hello_capability: repair, pass
hello_repeated: drop, close
hello_trailing: drop, pass
hello_refused: answer, pass
agent_unreachable: answer, pass
unmatched_ack: drop, pass, close
duplicate_ack: drop
late_ack: drop, pass
foreign_ack: reorder, drop
empty_ack: repair, pass
glitch_flood: close, pass
ack_stray_null: repair, drop
ack_null_value: repair, pass, drop
ack_bad_bool: repair, pass, drop
ack_malformed: drop, pass, repair
ack_long_name: drop, pass
ack_proc_scope: pass, drop
notify_unanswered: pass
disconnect_before_ack: reorder, pass
ack_after_disconnect: reorder, drop
frame_after_disconnect: drop
disconnect_bad_ids: repair
disconnect_malformed: repair
disconnect_status: repair, pass
disconnect_repeated: drop
disconnect_missing: answer, pass
"""
FROM_HAPROXY = """
runt_frame: drop, close
oversize_frame: drop, close
garbled_stream: close
truncated_frame: drop, close
bad_varint: drop, close
reserved_flags: repair, pass, drop
unknown_frame_type: drop, close
wrong_side_frame: drop, close
not_spop: close
glitch_flood: close, pass
frame_before_hello: close
hello_malformed: close
hello_version: close
hello_repeated: drop, close
notify_oversize: drop, close
notify_empty: answer, pass
notify_malformed: drop, pass, close
notify_duplicate: pass, drop
fragment_refused: drop, close
frame_after_disconnect: drop
disconnect_malformed: repair
haproxy_refused: pass
"""


def relied_on(table: str) -> dict[Anomaly, list[Action]]:
    rows = (line.split(": ") for line in table.strip().splitlines())
    return {Anomaly(name): [Action(action) for action in actions.split(", ")] for name, actions in rows}


@pytest.mark.parametrize(("side", "table"), [(Side.AGENT, FROM_AGENT), (Side.HAPROXY, FROM_HAPROXY)])
def test_the_anomalies_and_their_actions_are_those_operators_rely_on(side: Side, table: str) -> None:
    rows = relied_on(table)
    assert {scene.anomaly for scene in SCENES if scene.side is side} == rows.keys()
    for anomaly, [default, *others] in rows.items():
        row = CATALOGUE[anomaly]
        assert (row.default if side is Side.AGENT else row.haproxy_default) is default, anomaly
        assert allowed(side, anomaly) == {default, *others}, anomaly


def test_operators_have_been_told_every_name() -> None:
    assert {*relied_on(FROM_AGENT), *relied_on(FROM_HAPROXY)} == set(Anomaly)


def test_what_passes_is_least_severe_and_what_ends_a_session_most() -> None:
    assert [severity(action) for action in (Action.PASS, Action.REPAIR, Action.CLOSE)] == list(SEVERITIES)
