"""Workers that do one thing wrong: the smallest program that implements their side of the channel."""

from spoe_guard.observe import snapshot
from spoe_guard.observe.incidents import Incidents
from spoe_guard.observe.stats import RouteStats

PROLOGUE = """
import json, os, socket, sys, time
sock = socket.socket(fileno=int(sys.argv[1]))
came = sock.makefile()
given = json.loads(came.readline())
def say(**message):
    sock.sendall(json.dumps(message).encode() + b"\\n")
def hear():
    line = came.readline()
    if not line:
        sys.exit(3)
    return json.loads(line)
"""
SERVES = """
say(listening=True)
while "ask" in (heard := hear()):
    known = {"numbers": given["numbers"], "incidents": {"pid": os.getpid(), "rows": given["rows"][str(given["worker"])]}}
    say(id=heard["id"], answer=known.get(heard["ask"], [heard["ask"], given["worker"]]))
say(last=given["numbers"])
"""
DIES_AT_ONCE = "sys.exit(7)"
CANNOT = "say(failed='no room here'); sys.exit(1)"
NEVER_LISTENS = "hear()"
DIES_WHEN_IT_LISTENS = "say(listening=True); sys.exit(7)"
FALLS_SILENT = """
say(listening=True)
heard = hear()
say(id=heard["id"], answer=given["numbers"])
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
    stats = RouteStats()
    stats.connections = stats.open = connections
    return {"routes": {"default": snapshot.take(stats)}, "process": {}}
