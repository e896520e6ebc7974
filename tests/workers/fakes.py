"""Workers that do one thing wrong: the smallest program that speaks their side of the channel."""

from spoe_guard.observe import snapshot
from spoe_guard.observe.stats import RouteStats

PROLOGUE = """
import json, os, socket, sys, time
file = socket.socket(fileno=int(sys.argv[1])).makefile("rw")
given = json.loads(file.readline())
def say(**message):
    file.write(json.dumps(message) + "\\n")
    file.flush()
def hear():
    line = file.readline()
    if not line:
        sys.exit(3)
    return json.loads(line)
"""
SERVES = """
say(listening=True)
while "ask" in (heard := hear()):
    say(id=heard["id"], said=given["numbers"] if heard["ask"] == "numbers" else [heard["ask"], given["worker"]])
say(last=given["numbers"])
"""
DIES_AT_ONCE = "sys.exit(7)"
CANNOT = "say(failed='no room here'); sys.exit(1)"
NEVER_LISTENS = "hear()"
DIES_WHEN_IT_LISTENS = "say(listening=True); sys.exit(7)"
FALLS_SILENT = """
say(listening=True)
heard = hear()
say(id=heard["id"], said=given["numbers"])
while True:
    hear()
"""
DEAF = """
say(listening=True)
while True:
    hear()
"""


def numbers(connections: int) -> dict[str, object]:
    stats = RouteStats()
    stats.connections = stats.open = connections
    return {"routes": {"default": snapshot.take(stats)}, "process": {}}
