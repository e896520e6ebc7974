"""Workers that do one thing wrong: the smallest program that implements their side of the channel."""

import json

from spoe_guard.observe import snapshot
from spoe_guard.observe.incidents import Incidents
from spoe_guard.observe.stats import RouteStats
from spoe_guard.run.workers.channel import PART

PROLOGUE = """
import json, os, socket, sys, time
sock = socket.socket(fileno=int(sys.argv[1]))
came = sock.makefile()
given = json.loads(came.readline())
def say(parts=(), **message):
    sock.sendall("".join(f"{line}\\n" for line in (*parts, json.dumps(message))).encode())
def say_numbers(**more):
    say(given["parts_told"], numbers=given["numbers"], **more)
def hear():
    line = came.readline()
    if not line:
        sys.exit(3)
    return json.loads(line)
"""
SERVES = """
say(listening=True)
while "ask" in (heard := hear()):
    if heard["ask"] == "numbers":
        say_numbers(id=heard["id"], answer=True)
    elif heard["ask"] == "incidents":
        rows = given["rows"][str(given["worker"])]
        say(["+" + json.dumps(row) for row in rows], id=heard["id"], answer={"pid": os.getpid(), "rows": []})
    else:
        say(id=heard["id"], answer=[heard["ask"], given["worker"]])
say_numbers()
"""
DIES_AT_ONCE = "sys.exit(7)"
CANNOT = "say(failed='no room here'); sys.exit(1)"
NEVER_LISTENS = "hear()"
DIES_WHEN_IT_LISTENS = "say(listening=True); sys.exit(7)"
FALLS_SILENT = """
say(listening=True)
say_numbers(id=hear()["id"], answer=True)
while True:
    hear()
"""
DEAF = """
say(listening=True)
while True:
    hear()
"""


def rows(worker: int, *seconds: float) -> list[dict[str, object]]:
    """The incidents a worker saw, each of a kind of its own, and one of all workers' together before them."""
    now = [0.1 * worker]
    incidents = Incidents(lambda: now[0])
    incidents.happened("default", ("internal_error", "All")).met(worker)
    for now[0] in sorted(seconds):
        incidents.happened("default", ("internal_error", f"At{now[0]:g}")).met(worker)
    here = {"first_worker": worker, "last_worker": worker}
    return [{**row, **here, "ids": [f"{worker}-{row['error']}"]} for row in incidents.take()]


def numbers(connections: int) -> dict[str, object]:
    """What a worker with so many of them tells, and the parts of it."""
    stats = RouteStats()
    stats.connections = stats.open = connections
    parts = [f"{PART.decode()}{json.dumps(snapshot.take(stats))}"]
    return {"numbers": {"process": {}, "sessions": connections, "routes": ["default"]}, "parts_told": parts}
