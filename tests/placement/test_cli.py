"""`spoe-guard init` and `check --haproxy` as a user runs them: output, files, exit codes, and the question on a terminal."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from spoe_guard import cli
from spoe_guard.placement.recognise import profile_names, profile_settings
from tests.placement.shapes import SHAPES, Shape
from tests.running import RUN_S, environment, spoe_guard

SHAPE = {shape.name: shape for shape in SHAPES}


@pytest.fixture
def run(tmp_path):
    """Run a command where the files of a shape are."""

    def go(shape: str, *arguments: str, settings: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        if not (tmp_path / "haproxy.cfg").exists():
            SHAPE[shape].copy(tmp_path)
        return spoe_guard(*arguments, cwd=tmp_path, settings=settings)

    return go


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def of_shape(shape: Shape) -> dict[str, bytes]:
    return files(Path(__file__).parent / "shapes" / shape.name)


def test_init_prints_all_and_writes_nothing(run, tmp_path):
    done = run("coraza", "init", "--haproxy", "haproxy.cfg", "--output", "guard.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "found",
        "  engine               coraza, of frontend shop        haproxy.cfg:16",
        "  agent                coraza-agent                    coraza.cfg:2",
    ]
    assert "guard.yaml" in lines
    assert "--- coraza.cfg" in lines
    assert (
        lines[-1]
        == "Nothing was written. --write writes guard.yaml, and changes haproxy.cfg and coraza.cfg, of which it keeps a copy."
    )
    assert files(tmp_path) == of_shape(SHAPE["coraza"])


def test_init_writes_what_check_then_finds_to_agree(run, tmp_path):
    done = run("coraza", "init", "--haproxy", "haproxy.cfg", "--output", "guard.yaml", "--write")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-4:] == [
        "Written: guard.yaml",
        "Changed: haproxy.cfg, which is kept as haproxy.cfg.bak",
        "Changed: coraza.cfg, which is kept as coraza.cfg.bak",
        "Start the guard (spoe-guard run --config guard.yaml) before you reload HAProxy.",
    ]
    old = of_shape(SHAPE["coraza"])
    assert {name: data for name, data in files(tmp_path).items() if name.endswith(".bak")} == {
        f"{name}.bak": data for name, data in old.items()
    }
    checked = run("coraza", "check", "--config", "guard.yaml", "--haproxy", "haproxy.cfg", "--strict")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "warnings" not in checked.stdout
    assert checked.stdout.endswith("\nOK. Addresses were checked for syntax only.\n")


def test_init_refuses_to_guard_the_guard_or_to_write_over_its_file(run, tmp_path):
    run("coraza", "init", "--haproxy", "haproxy.cfg", "--output", "guard.yaml", "--write")
    before = files(tmp_path)
    again = run("coraza", "init", "--haproxy", "haproxy.cfg", "--output", "guard.yaml")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "spoe-guard: haproxy.cfg:27: server coraza leads to the guard already: route coraza of guard.yaml\n"
    over = run("coraza", "init", "--haproxy", "haproxy.cfg", "--output", "guard.yaml", "--write")
    assert (over.returncode, over.stdout) == (2, "")
    assert over.stderr == "spoe-guard: --output: 'guard.yaml': it is there already; move it away, or name another file\n"
    assert files(tmp_path) == before


WRONG = [
    ("init --haproxy no.cfg", "--haproxy: 'no.cfg': cannot be read: No such file or directory"),
    ("init --haproxy coraza.cfg", "--haproxy: no `filter spoe` in coraza.cfg; name the file that has it, too"),
    ("init --haproxy haproxy.cfg --spoe no.cfg", "--spoe: 'no.cfg': cannot be read: No such file or directory"),
    ("init --haproxy haproxy.cfg --engine waf", "--engine: 'waf': the files have coraza"),
    ("init --haproxy haproxy.cfg --profile corazza", f"--profile: 'corazza': allowed: {', '.join(profile_names())}"),
    ("init --haproxy haproxy.cfg --listen 12345", "--listen: '12345': expected HOST:PORT, [v6]:PORT or unix:/path"),
    ("init --haproxy haproxy.cfg --listen 127.0.0.1:0", "--listen: '127.0.0.1:0': HAProxy needs to know the port; 0 is none"),
    (
        "init --haproxy haproxy.cfg --listen 127.0.0.1:8000",
        "--listen: '127.0.0.1:8000': the port is taken by haproxy.cfg:23; choose another one",
    ),
    ("init --haproxy haproxy.cfg --haproxy-version 3", "--haproxy-version: '3': expected two numbers, as in 3.2"),
    ("check --spoe coraza.cfg", "--spoe: 'coraza.cfg': it needs --haproxy FILE, too"),
    ("check --engine coraza", "--engine: 'coraza': it needs --haproxy FILE, too"),
    ("check --haproxy-version 3.2", "--haproxy-version: '3.2': it needs --haproxy FILE, too"),
    ("check --haproxy no.cfg", "--haproxy: 'no.cfg': cannot be read: No such file or directory"),
]


@pytest.mark.parametrize(("command", "error"), WRONG, ids=[command for command, _ in WRONG])
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, command, error):
    monkeypatch.chdir(SHAPE["coraza"].copy(tmp_path))
    for name in ("signal", "pthread_sigmask"):  # of this process they stay what they are
        monkeypatch.setattr(cli.signal, name, lambda *_args: None)
    assert cli.app(command.split(), standalone_mode=False) == 2
    assert capsys.readouterr() == ("", f"spoe-guard: {error}\n")
    assert files(tmp_path) == of_shape(SHAPE["coraza"])


def test_a_refusal_of_a_process_is_one_line_too(run, tmp_path):
    done = run("several-engines", "init", "--haproxy", "haproxy.cfg", "--write")
    expected = "there are 2 engines, reputation (haproxy.cfg:14), tokens (haproxy.cfg:15): choose one with --engine NAME"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"spoe-guard: {expected}\n")
    assert files(tmp_path) == of_shape(SHAPE["several-engines"])


def test_what_cannot_be_written_is_one_line_and_exit_code_1(run, tmp_path):
    done = run("coraza", "init", "--haproxy", "haproxy.cfg", "--output", "none/guard.yaml", "--write")
    assert done.returncode == 1
    assert done.stderr == "spoe-guard: none/guard.yaml: cannot be written: No such file or directory; nothing was changed\n"
    assert files(tmp_path) == of_shape(SHAPE["coraza"])


def test_without_a_name_haproxys_usual_file_is_read(run):
    done = run("coraza", "init", "--engine", "no-such-engine")
    assert done.returncode == 2
    assert "/etc/haproxy/haproxy.cfg" in done.stderr or done.stderr.startswith("spoe-guard: --engine: 'no-such-engine'")


def test_a_profile_that_is_given_comes_before_what_is_recognised(run):
    done = run("coraza", "init", "--haproxy", "haproxy.cfg", "--profile", "negasus")
    assert (done.returncode, done.stderr) == (0, "")
    assert "profile: negasus" in done.stdout
    assert "+    timeout     processing      1s" in done.stdout


# --- check -------------------------------------------------------------------------------------------------


def test_check_warns_of_each_contradiction_and_strict_makes_that_exit_code_2(run, tmp_path):
    SHAPE["coraza"].copy(tmp_path)
    told = "haproxy: {timeout_processing: 1s, timeout_hello: 2s, set_on_error: failed}"
    (tmp_path / "guard.yaml").write_text(f"routes: [{{agent: 127.0.0.1:9000, {told}}}]")
    arguments = ("check", "--config", "guard.yaml", "--haproxy", "haproxy.cfg", "--spoe", "coraza.cfg")
    done = run("coraza", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    warning = "routes[0].agent: server coraza (haproxy.cfg:27) goes to the agent past the guard; put 127.0.0.1:12345 there"
    warnings = done.stdout.partition("\nwarnings\n")[2].partition("\n\n")[0].splitlines()
    assert warnings == [f"  {warning}"]
    text = (tmp_path / "haproxy.cfg").read_text().replace("127.0.0.1:9000 check", "127.0.0.1:12345")
    (tmp_path / "haproxy.cfg").write_text(text)
    strict = run("coraza", *arguments, "--strict")
    assert (strict.returncode, strict.stderr) == (2, "")
    assert [line.partition(":")[0] for line in strict.stdout.partition("\nwarnings\n")[2].splitlines()][:4] == [
        "  routes[0].haproxy.timeout_processing",
        "  routes[0].disconnect_hold",
        "  routes[0].answer_deadline",
        "  routes[0].haproxy.set_on_error",
    ]
    assert strict.stdout.endswith("\nNot OK: there are warnings, and --strict was given.\n")


def test_strict_counts_the_guards_own_warnings_too(run, tmp_path):
    (tmp_path / "guard.yaml").write_text("routes: [{links: {max: 2}}]")
    assert spoe_guard("check", "--config", "guard.yaml", cwd=tmp_path).returncode == 0
    assert spoe_guard("check", "--config", "guard.yaml", "--strict", cwd=tmp_path).returncode == 2
    assert spoe_guard("check", "--strict", cwd=tmp_path).returncode == 0


def test_check_says_the_same_as_json(run, tmp_path):
    SHAPE["coraza"].copy(tmp_path)
    (tmp_path / "guard.yaml").write_text("routes: [{agent: 127.0.0.1:9000}]")
    done = run("coraza", "check", "--config", "guard.yaml", "--haproxy", "haproxy.cfg", "--json", "--strict")
    assert done.returncode == 2
    expected = "routes[0].agent: server coraza (haproxy.cfg:27) goes to the agent past the guard; put 127.0.0.1:12345 there"
    assert json.loads(done.stdout)["warnings"] == [expected]
    refused = run("coraza", "check", "--haproxy", "no.cfg", "--json")
    assert (refused.returncode, refused.stderr) == (2, "")
    text = "--haproxy: 'no.cfg': cannot be read: No such file or directory"
    [problem] = json.loads(refused.stdout)["problems"]
    assert problem == {"key": "--haproxy", "origin": "", "message": text, "text": text}


def test_check_says_what_kept_it_from_comparing_but_no_everyday_if(run, tmp_path):
    SHAPE["conditions"].copy(tmp_path)
    (tmp_path / "haproxy.cfg").write_text(
        (tmp_path / "haproxy.cfg").read_text() + "frontend g\n filter spoe engine other config spoe.conf\n"
    )
    (tmp_path / "guard.yaml").write_text("routes: [{agent: 127.0.0.1:9000}]")
    done = run("conditions", "check", "--config", "guard.yaml", "--haproxy", "haproxy.cfg")
    warnings = done.stdout.partition("\nwarnings\n")[2].partition("\n\n")[0].splitlines()
    assert warnings[0] == "  spoe.conf: engine other has no spoe-agent in [other]; the file has [check]"
    assert not any("is not evaluated" in line for line in warnings)


# --- the question ------------------------------------------------------------------------------------------


def on_a_terminal(folder: Path, *arguments: str, answer: str) -> str:
    """Run a command on a terminal, answer its question, and return what it showed."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "spoe_guard", *arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment(), close_fds=True,
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        while chunk := _read(terminal):
            shown += chunk
            if shown.endswith(b"]: "):
                terminal.write(f"{answer}\n".encode())
        assert process.wait(RUN_S) == 0
    return shown.decode().replace("\r\n", "\n")


def _read(terminal: io.RawIOBase) -> bytes:
    try:
        return terminal.read(4096)
    except OSError:  # Linux says so when the other side is closed
        return b""


@pytest.mark.parametrize(("answer", "profile"), [("", "coraza"), ("criteo", "criteo")])
def test_on_a_terminal_init_asks_which_agent_it_is(tmp_path, answer, profile):
    SHAPE["coraza"].copy(tmp_path)
    shown = on_a_terminal(tmp_path, "init", "--haproxy", "haproxy.cfg", answer=answer)
    assert f"Which agent is it ({', '.join(profile_names())}) [coraza]: " in shown
    chosen = profile_settings(profile)
    assert f"profile: {chosen.get('profile') or chosen['hello']['profile']}\n" in shown


def test_on_a_terminal_nothing_is_asked_where_the_profile_is_given(tmp_path):
    SHAPE["coraza"].copy(tmp_path)
    shown = on_a_terminal(tmp_path, "init", "--haproxy", "haproxy.cfg", "--profile", "coraza", answer="")
    assert "Which agent" not in shown
    assert "Nothing was written." in shown
