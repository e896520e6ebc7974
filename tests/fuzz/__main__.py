"""``make fuzz``: ``python -m tests.fuzz`` looks for a play that breaks a promise; ``python -m tests.fuzz FILE`` shows one again.

Each job is a process of its own with seeds of its own; they share what reaches new branches through .cache/fuzz/corpus/TARGET.
"""

import argparse
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.case import decode, encode
from tests.fuzz.corpus import seeds
from tests.fuzz.finding import fault, shown, shrunk
from tests.peers import CACHE, ROOT

HOME = CACHE / "fuzz"
LONGEST = 20_000  # bytes of a play: more than one frame of the default size
STUCK_S = 600  # a play that stands so long is a finding too; by the clock, and other work may have the machine
REPORT_S = 30.0
EXECUTED = re.compile(rb"^(?:#|Done )(\d+)\s", re.MULTILINE)
REACHED = re.compile(rb" cov: (\d+) ")


TARGETS = {"promises": "tests.fuzz.target", "cost": "tests.fuzz.cost"}


def sow(corpus: Path) -> int:
    """Write the seeds there; return how many."""
    corpus.mkdir(parents=True, exist_ok=True)
    found = seeds()
    for case in found.values():
        raw = encode(case)
        (corpus / hashlib.sha256(raw).hexdigest()[:40]).write_bytes(raw)
    return len(found)


class Job:
    """One libFuzzer."""

    def __init__(self, number: int, target: str, seconds: int, seed: int, corpus: Path, findings: Path) -> None:
        self.log = HOME / f"job-{os.getpid()}-{number}.log"
        command = [sys.executable, "-m", TARGETS[target], f"-max_total_time={seconds}", f"-max_len={LONGEST}"]
        command += [
            f"-timeout={STUCK_S}",
            f"-report_slow_units={STUCK_S}",
            f"-seed={seed + number}",
            "-reload=1",
            f"-artifact_prefix={findings}/",
            str(corpus),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)

    @property
    def progress(self) -> tuple[int, int]:
        """How many plays so far, and how many branches they reached."""
        sent = self.log.read_bytes()
        plays, branches = EXECUTED.findall(sent), REACHED.findall(sent)
        return int(plays[-1]) if plays else 0, int(branches[-1]) if branches else 0


def fuzz(seconds: int, jobs: int, seed: int, target: str = "promises") -> int:
    corpus, findings = (HOME / name / target for name in ("corpus", "findings"))
    findings.mkdir(parents=True, exist_ok=True)
    before = set(findings.iterdir())
    sown = sow(corpus)
    known = len(list(corpus.iterdir()))
    print(f"{sown} seeds, {known} plays in {corpus.relative_to(ROOT)}, {jobs} jobs, seed {seed}", flush=True)
    began = told = time.monotonic()
    running = [Job(number, target, seconds, seed, corpus, findings) for number in range(1, jobs + 1)]
    try:
        while any(job.process.poll() is None for job in running) and not (set(findings.iterdir()) - before):
            time.sleep(0.5)
            if time.monotonic() >= told + REPORT_S:
                told = time.monotonic()
                print(_said(running, told - began), flush=True)
    finally:
        failed = [job for job in running if job.process.poll() not in (None, 0)]
        for job in running:
            if job.process.poll() is None and (failed or set(findings.iterdir()) - before):
                job.process.terminate()
            job.process.wait()
    print(_said(running, time.monotonic() - began))
    found = sorted(set(findings.iterdir()) - before)
    for path in found:
        if target == "cost":
            subprocess.run([sys.executable, "-m", TARGETS[target], path], cwd=ROOT, check=False)
        else:
            show(path)
    for job in running:
        if job in failed and not found:
            print(job.log.read_text(errors="replace")[-3000:])
        job.log.unlink()
    return 1 if found or failed else 0


def _said(jobs: list[Job], seconds: float) -> str:
    plays, branches = sum(job.progress[0] for job in jobs), max(job.progress[1] for job in jobs)
    return f"{seconds:6.0f} s  {plays} plays, {plays / seconds:.0f}/s  {branches} branches reached"


def show(path: Path) -> int:
    """Play the file, and show the smallest play that breaks the same; 1 when something is wrong with it."""
    case = decode(path.read_bytes())
    if not (sent := fault(case)):
        print(f"{path}: nothing is wrong with it")
        return 0
    small = shrunk(case)
    where = HOME / "findings" / f"small-{hashlib.sha256(encode(small)).hexdigest()[:16]}"
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_bytes(encode(small))
    print(f"--- {path}: {sent}\n--- the same in short: {fault(small)}\n{shown(small)}")
    print(f"--- again: {Path(sys.executable).name} -m tests.fuzz {where.relative_to(ROOT)}", flush=True)
    return 1


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz")
    asked.add_argument("files", nargs="*", type=Path)
    asked.add_argument("--seconds", type=int, default=3600)
    asked.add_argument("--jobs", type=int, default=1)
    asked.add_argument("--cost", action="store_true", help="look for plays that cost too much, not for broken promises")
    asked.add_argument("--seed", type=int, default=int(time.monotonic()))
    told = asked.parse_args()
    if told.files:
        return max([show(path) for path in told.files])
    if importlib.util.find_spec("atheris") is None:
        print("skipped: atheris is not there, and has wheels for CPython 3.11 to 3.14 on x86-64 Linux only; there: make venv")
        return int(os.environ.get("CI") == "true")
    return fuzz(told.seconds, told.jobs, told.seed, "cost" if told.cost else "promises")


if __name__ == "__main__":
    sys.exit(main())
