"""The anomaly catalogue: each row is met, each action allowed is taken, and the table agrees with the project's own paper."""

import re

import pytest

from spoe_guard.core.terms.anomalies import CATALOGUE, SEVERITIES, Action, Anomaly, Side, severity
from tests.core import frames
from tests.core.scenes import SCENES, Scene
from tests.core.script import Talk
from tests.peers import ROOT, missing

pytestmark = pytest.mark.usefixtures("both_speeds")

CASES = [(scene, action) for scene in SCENES for action in scene.comes]


@pytest.mark.parametrize(("scene", "action"), CASES, ids=[f"{s.side.value}-{s.anomaly.value}-{a.value}" for s, a in CASES])
def test_each_row_is_met_and_each_action_taken(scene: Scene, action: Action) -> None:
    choice = {scene.anomaly: action} if action in CATALOGUE[scene.anomaly].allowed else None
    talk = Talk(choice, **scene.config)
    talk.bytes.update(odd=scene.odd, small=frames.agent_hello(max_frame_size=1000))
    reports = len(talk.play(scene.before).anomalies)
    talk.play(f"{scene.said} -> {outcome(scene, action)}")
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
    held = "held, " if scene.anomaly is Anomaly.DISCONNECT_BEFORE_ACK and action is Action.REORDER else ""
    return f"{held}{report}" + (f", {scene.comes[action]}" if scene.comes[action] else "")


def allowed(side: Side, anomaly: Anomaly) -> frozenset[Action]:
    return CATALOGUE[anomaly].allowed if side is Side.AGENT else CATALOGUE[anomaly].haproxy_allowed


def test_no_row_that_is_looked_for_is_left_out_and_no_action_of_it() -> None:
    detected = {anomaly for anomaly, row in CATALOGUE.items() if row.detected}
    assert {scene.anomaly for scene in SCENES} == detected
    assert {(s.side, s.anomaly): set(s.comes) for s in SCENES} == {
        (s.side, s.anomaly): set(allowed(s.side, s.anomaly)) for s in SCENES
    }
    assert len({(s.side, s.anomaly) for s in SCENES}) == len(SCENES)


def test_the_catalogue_has_one_row_per_anomaly_and_a_sentence_and_evidence_for_each() -> None:
    assert list(CATALOGUE) == list(Anomaly)
    for anomaly, row in CATALOGUE.items():
        assert row.default in row.allowed, anomaly
        assert len(row.sentence) > 10, anomaly
        assert not row.sentence.endswith("."), anomaly
        assert row.evidence, anomaly


# --- the paper ----------------------------------------

PAPER = ROOT.parent / "shared" / "hazards" / "README.md"

# Where the table differs from the paper's words, and why.
DELIBERATE = {
    (Side.AGENT, Anomaly.NOTIFY_UNANSWERED): "`unanswered:` decides, not `policy:`; reported as pass, or as answer",
}
# What is looked for from HAProxy's side and is not in the paper's second table.
BESIDE = {
    Anomaly.HELLO_VERSION: "a HELLO no agent could take, told apart from a malformed one",
    Anomaly.RESERVED_FLAGS: "as from the agent",
    Anomaly.DISCONNECT_MALFORMED: "as from the agent: promise A3 wants one that every agent takes",
}


def words(cell: str) -> set[Action]:
    """Return the actions a cell names; what stands in brackets, or is told of another case, explains."""
    plain = re.sub(r"\(.*?\)|;.*|, (else|then|slowly|the NOTIFY|counts) ?.*| (where|when) .*", "", cell)
    return {action for action in Action if re.search(rf"\b{action.value}\b", plain)}


@pytest.fixture(scope="module")
def paper() -> dict[tuple[Side, Anomaly], tuple[set[Action], set[Action]]]:
    """Default and ``may be`` by side and anomaly, as the paper has them."""
    if not PAPER.exists():
        missing("../shared/hazards/README.md not found", "put the project's papers beside the working copy")
    text = PAPER.read_text()
    found = {}
    for side, title in ((Side.AGENT, "## From the agent"), (Side.HAPROXY, "## From HAProxy")):
        for line in text[text.index(title) :].partition("\n\n")[0].splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if re.fullmatch(r"[a-z_, ]+", cells[0]) and cells[0] != "anomaly":
                found |= {(side, Anomaly(name)): (words(cells[2]), words(cells[3])) for name in cells[0].split(", ")}
    return found


def test_the_paper_and_the_table_name_the_same_anomalies(paper: dict[tuple[Side, Anomaly], object]) -> None:
    assert {anomaly for _, anomaly in paper} == set(Anomaly)


def test_every_row_of_the_paper_that_is_looked_for_is_a_scene(paper: dict[tuple[Side, Anomaly], object]) -> None:
    looked_for = {(side, anomaly) for side, anomaly in paper if CATALOGUE[anomaly].detected}
    assert {(s.side, s.anomaly) for s in SCENES} == looked_for | {(Side.HAPROXY, anomaly) for anomaly in BESIDE}


def test_the_table_says_what_the_paper_says(paper: dict[tuple[Side, Anomaly], tuple[set[Action], set[Action]]]) -> None:
    differences = {}
    for (side, anomaly), (default, may_be) in paper.items():
        row = CATALOGUE[anomaly]
        ours = row.default if side is Side.AGENT else row.haproxy_default
        if side is Side.HAPROXY and default == {Action.DROP, Action.CLOSE}:  # "drop or close; never a byte to the agent"
            agrees = ours in default and allowed(side, anomaly) <= default
        else:
            agrees = {ours} == default and allowed(side, anomaly) == default | may_be
        if not agrees:
            differences[side, anomaly] = (ours, allowed(side, anomaly), default, may_be)
    assert differences.keys() == DELIBERATE.keys() & paper.keys(), differences


def test_what_passes_is_least_severe_and_what_ends_a_session_most() -> None:
    assert [severity(action) for action in (Action.PASS, Action.REPAIR, Action.CLOSE)] == list(SEVERITIES)
