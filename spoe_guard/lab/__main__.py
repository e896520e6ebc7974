"""``python -m spoe_guard.lab``: the misbehaving agent as a program, to run in its own terminal or to be killed."""

import argparse
import asyncio
import os
import signal

from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.frames import first_argument
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS
from spoe_guard.lab.streams import LOCALHOST


def main() -> None:
    """Serve until SIGTERM or SIGINT; print ``listening HOST:PORT``, then ``answered ARGUMENT`` per NOTIFY, after the write."""
    table = "\n".join(f"  {row.name:24}{row.sentence}" for row in MISBEHAVIOURS.values())
    parser = argparse.ArgumentParser(
        prog="python -m spoe_guard.lab",
        description="An SPOE agent that answers each NOTIFY with its first argument (in the variable verdict), and gets one "
        "thing wrong.",
        epilog=f"what it can get wrong:\n{table}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("misbehaviour", nargs="?", choices=MISBEHAVIOURS, metavar="MISBEHAVIOUR")
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1; default: one that the kernel chooses")
    parser.add_argument("--on-notify", type=int, default=1, metavar="N", help="the NOTIFY, from 1, at which it goes wrong")
    parser.add_argument("--hold", type=int, default=1, metavar="N", help="collect so many NOTIFYs of one connection first")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="how long an answer takes")
    args = parser.parse_args()
    misbehaviour = MISBEHAVIOURS[args.misbehaviour] if args.misbehaviour else None
    script = Script(misbehaviour, on_notify=args.on_notify, hold=args.hold, delay_s=args.delay)
    asyncio.run(_serve(script, args.port))


async def _serve(script: Script, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    agent = ScriptedAgent(script, on_answered=lambda notify: _say(b"answered " + first_argument(notify)))
    bound = await agent.listen_tcp(port=port)
    _say(f"listening {LOCALHOST}:{bound}".encode())
    await stopped.wait()
    await agent.stop()


def _say(line: bytes) -> None:
    """Write unbuffered, so that a line survives a SIGKILL right after it."""
    os.write(1, line + b"\n")


if __name__ == "__main__":
    main()
