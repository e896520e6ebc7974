"""A real shell completes commands, options and values of spoe-guard with what `spoe-guard completion` prints."""

import os
import pty
import select
import subprocess
import time

import pytest

from tests.peers import need
from tests.running import RUN_S, as_command, spoe_guard

CASES = [
    ("spoe-guard ru", {"run"}),
    ("spoe-guard check --di", {"--diff"}),
    ("spoe-guard run --mode ", {"enforce", "observe"}),
    ("spoe-guard lab agent --fault runt", {"runt_frame"}),
]
each_case = pytest.mark.parametrize(("line", "expected"), CASES, ids=[case[0] for case in CASES])


@pytest.fixture
def shell_environment(tmp_path):
    return {**as_command(tmp_path), "HOME": str(tmp_path), "TERM": "dumb"}


def script(shell):
    done = spoe_guard("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def output(command, env):
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@each_case
def test_bash_completes(tmp_path, shell_environment, line, expected):
    (tmp_path / "completion").write_text(script("bash"))
    words = line.split(" ")
    asked = f"""
        source {tmp_path}/completion
        read -r _ _ _ _ function _ <<< "$(complete -p spoe-guard)"
        COMP_WORDS=({" ".join(word or '""' for word in words)}) COMP_CWORD={len(words) - 1}
        $function spoe-guard
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    found = output([need("bash"), "--norc", "--noprofile", "-c", asked], shell_environment)
    assert set(found.split()) == expected


@each_case
def test_fish_completes(tmp_path, shell_environment, line, expected):
    (tmp_path / "completion.fish").write_text(script("fish"))
    asked = f"source {tmp_path}/completion.fish; complete --do-complete '{line}'"
    found = output([need("fish"), "--no-config", "-c", asked], shell_environment)
    assert {each.partition("\t")[0] for each in found.splitlines()} == expected


def test_zsh_completes(tmp_path, shell_environment):
    """In a terminal, since zsh completes nowhere else. One case will do: the script asks spoe-guard, as those above do."""
    zsh = need("zsh")
    functions = tmp_path / "functions"
    functions.mkdir()
    (functions / "_spoe-guard").write_text(script("zsh"))
    assert (functions / "_spoe-guard").read_text().startswith("#compdef spoe-guard\n")  # where zsh looks for it
    ours, its = pty.openpty()
    with subprocess.Popen([zsh, "-f", "-i"], stdin=its, stdout=its, stderr=its, env=shell_environment, cwd=tmp_path) as process:
        os.close(its)
        try:
            os.write(ours, f"fpath=({functions} $fpath); autoload -Uz compinit; compinit -u; PROMPT='<''>'\n".encode())
            seen = read_until(ours, b"<>")  # the prompt, not what was typed
            os.write(ours, b"spoe-guard lab agent --fault runt\t")
            seen += read_until(ours, b"_frame")
        finally:
            process.kill()
            os.close(ours)
    assert b"_frame" in seen, seen


def read_until(terminal, what):
    """Return what comes from ``terminal`` up to ``what``, or within a time."""
    seen, deadline = b"", time.monotonic() + RUN_S
    while what not in seen and select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
        seen += os.read(terminal, 4096)
    return seen


def test_an_unknown_shell_is_one_line_and_exit_code_2():
    done = spoe_guard("completion", "tcsh")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "spoe-guard: completion: 'tcsh': allowed: bash, zsh, fish\n"
