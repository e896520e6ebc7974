"""The diff of HAProxy's files: it names every line that changes, and whoever applies it changes nothing else."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.haproxy_config.source import Source, Sources
from spoe_guard.placement.changes import Changes, unified
from spoe_guard.placement.commands import propose
from spoe_guard.placement.findings import Request
from tests.peers import missing
from tests.placement.files import HAPROXY, SPOE, found, in_memory
from tests.placement.shapes import SHAPES, as_recognised


def applied(before: dict[Path, Source], diff: list[str]) -> dict[Path, Source]:
    """Apply a unified diff as its definition says: a line of context, or one that goes, has to be where the diff says."""
    result = {path: list(source.lines) for path, source in before.items()}
    path, at, shift = Path(), 0, 0
    for number, line in enumerate(diff):
        ends_file = diff[number + 1 : number + 2] == ["\\ No newline at end of file"]
        text = line[1:] + ("" if ends_file else "\n")
        if line.startswith("--- "):
            path, shift = Path(line.removeprefix("--- ")), 0
        elif found_ := re.match(r"@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@", line):
            at = int(found_[1]) - 1 + shift
        elif line.startswith((" ", "-")):
            assert result[path][at] == text, (path, at, line)
            if line.startswith(" "):
                at += 1
            else:
                del result[path][at]
                shift -= 1
        elif line.startswith("+") and not line.startswith("+++ "):
            result[path].insert(at, text)
            at, shift = at + 1, shift + 1
    return {path: Source(path, tuple(lines)) for path, lines in result.items()}


def same_but_for_named_lines(before: Source, after: Source, diff: list[str]) -> None:
    """Check that what a diff does not name is the same in both, in the same order."""
    went = [line[1:] for line in diff if line.startswith("-") and not line.startswith("--- ")]
    came = [line[1:] for line in diff if line.startswith("+") and not line.startswith("+++ ")]
    kept = [line.rstrip("\n") for line in before.lines]
    for line in went:
        kept.remove(line)
    left = [line.rstrip("\n") for line in after.lines]
    for line in came:
        left.remove(line)
    assert kept == left


# Lines that mean nothing to the guard, in each way of ending and of writing them, and what may stand on the lines that do.
FILLER = st.sampled_from(
    ["# -- a comment\n", "\n", "    # server a 127.0.0.1:9000\n", "    log global\n", "\t\n", "    # \udcff\n", "\r\n"]
)
BLANKS = st.sampled_from([" ", "  ", "\t", " \t "])
QUOTED = st.sampled_from(["{0}", '"{0}"', "'{0}'", '{0}""'])
ENDS = st.sampled_from(["\n", "\r\n", "  # -- {0}\n", " #\r\n"])


@st.composite
def written(draw: st.DrawFn, *words: str) -> str:
    """Write a line of these words."""
    end = draw(ENDS).format(words[0])
    return draw(BLANKS) + "".join(draw(QUOTED).format(word) + draw(BLANKS) for word in words) + end


@st.composite
def files(draw: st.DrawFn) -> dict[Path, str]:
    """Write both files, in many ways, with or without what the guard wants changed; the last line may lack its line feed."""
    some = st.lists(FILLER, max_size=3).map("".join)
    servers = draw(st.integers(1, 3))
    main = [draw(some), "frontend f\n", draw(written("filter", "spoe", "engine", "e", "config", "spoe.conf")), draw(some)]
    main += ["backend b\n", draw(some), draw(written("mode", "tcp")), draw(some)]
    for at in range(servers):
        main += [draw(written("server", f"s{at}", f"127.0.0.1:{9000 + at}", "check")), draw(some)]
    spoe = [draw(some), "[e]\n", "spoe-agent x\n", draw(some), draw(written("use-backend", "b")), draw(some)]
    for line in (("timeout", "processing", "10ms"), ("timeout", "hello", "5ms"), ("option", "set-on-error", "err")):
        if draw(st.booleans()):
            spoe += [draw(written(*line)), draw(some)]
    texts = {HAPROXY: "".join(main), SPOE: "".join(spoe)}
    return {path: text.removesuffix("\n") if draw(st.booleans()) else text for path, text in texts.items()}


@given(files())
def test_applying_the_diff_changes_nothing_but_the_lines_it_names(texts):
    before = {path: Source(path, tuple(re.findall(r"[^\n]*\n|[^\n]+$", text))) for path, text in texts.items()}
    engine = found(Sources(before))
    made = Changes()
    for server in engine.servers:
        made.replace(server.statement, server.word, "127.0.0.1:1")
    made.add_behind(engine.agent.heading, "option set-on-error e")
    if processing := engine.agent.last("timeout", "processing"):
        made.replace(processing, processing.words[2], "1s")
    changed = made.changed(Sources(before))
    diff = list(unified(Sources(before), changed))
    assert applied(before, diff) == before | changed
    for path, after in changed.items():
        of_path = diff[diff.index(f"--- {path}") :]
        later = [at for at, line in enumerate(of_path) if at and line.startswith("--- ") and of_path[at + 1].startswith("+++ ")]
        same_but_for_named_lines(before[path], after, of_path[: later[0]] if later else of_path)
    again = found(Sources(changed))  # each changed line says what it said before, but for the one word
    assert [server.address for server in again.servers] == ["127.0.0.1:1"] * len(engine.servers)
    assert [list(server.options) for server in again.servers] == [list(server.options) for server in engine.servers]
    assert again.named_option("set-on-error").value == (engine.named_option("set-on-error").value or "e")


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if not shape.error], ids=lambda shape: shape.name)
def test_patch_makes_of_the_diff_what_write_writes(shape, tmp_path, monkeypatch):
    patch = shutil.which("patch") or missing("patch not found", "apt-get install patch")
    monkeypatch.chdir(shape.copy(tmp_path))
    proposal = shape.proposal()
    diff = "".join(f"{line}\n" for line in unified(proposal.before, proposal.changed))
    (tmp_path / "diff").write_bytes(diff.encode(errors="surrogateescape"))
    subprocess.run([patch, "--binary", "-p0", "-i", "diff"], check=True, capture_output=True, timeout=20)
    assert {path: path.read_bytes() for path in proposal.changed} == {path: each.data for path, each in proposal.changed.items()}


def test_a_line_behind_a_last_one_without_line_feed_is_its_own():
    read = in_memory(
        {
            HAPROXY: "frontend f\n filter spoe engine e config spoe.conf\nbackend b\n server s h:1",
            SPOE: "[e]\nspoe-agent x\n use-backend b",
        }
    )
    made = Changes()
    engine = found(read)
    made.add_behind(engine.agent.body[-1], "timeout processing 1s")
    made.replace(engine.servers[0].statement, engine.servers[0].word, "h:2")
    changed = made.changed(read)
    assert changed[SPOE].lines == ("[e]\n", "spoe-agent x\n", " use-backend b\n", " timeout processing 1s\n")
    assert list(unified(read, changed))[-9:] == [
        "--- spoe.conf",
        "+++ spoe.conf",
        "@@ -1,3 +1,4 @@",
        " [e]",
        " spoe-agent x",
        "- use-backend b",
        "\\ No newline at end of file",
        "+ use-backend b",
        "+ timeout processing 1s",
    ]


def test_a_line_is_added_as_far_from_the_edge_as_its_neighbours():
    for text, added in (
        ("spoe-agent x\n\tuse-backend b\n", "\ttimeout idle 1s\n"),
        ("spoe-agent x\n# c\n\n  use-backend b\n", "  timeout idle 1s\n"),
        ("spoe-agent x\r\nuse-backend b\r\n", "    timeout idle 1s\r\n"),
    ):
        read = in_memory({HAPROXY: "frontend f\n filter spoe engine e config spoe.conf\nbackend b\n", SPOE: f"[e]\n{text}"})
        made = Changes()
        made.add_behind(found(read).agent.heading, "timeout idle 1s")
        assert made.changed(read)[SPOE].lines[2] == added


def test_init_on_its_own_outcome_finds_nothing_to_change(tmp_path, monkeypatch):
    """What contradicted the guard does so no more: a second proposal for the written files names server lines alone."""
    shape = next(shape for shape in SHAPES if shape.name == "crowdsec")
    monkeypatch.chdir(shape.copy(tmp_path))
    for path, source in shape.proposal().changed.items():
        path.write_bytes(source.data)
    again = propose(Request((HAPROXY,)), {}, Path("spoe-guard.yaml"), None, as_recognised)
    assert list(again.changed) == [HAPROXY]


def test_another_engine_with_the_same_backend_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backend = "backend b\n server s 127.0.0.1:9000\n"
    Path("haproxy.cfg").write_text(f"frontend f\n filter spoe engine a config x\n filter spoe engine z config x\n{backend}")
    Path("x").write_text("".join(f"[{name}]\nspoe-agent {name}-agent\n use-backend b\n" for name in "az"))
    lines = propose(Request((HAPROXY,), engine="a"), {}, Path("g.yaml"), None, as_recognised).lines
    assert "  x:5: engine z uses backend b, too; its own timeouts were not looked at" in lines
