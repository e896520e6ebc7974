"""The peers of a guard with many routes, as processes of their own: the agents, and all HAProxys.

``python -m tests.fleet.peers agents`` says the ports of two agents: one that behaves, and one that leaves FIN out of every tenth
ACK. ``python -m tests.fleet.peers haproxys SESSIONS ADDRESS...`` opens so many sessions at each, in turn, and says ``open``. For
each line that it is told one session of each address, the next one each time, sends a NOTIFY and gets its ACK; then it says
``answered``. With the line ``renew`` it ends behind that, after another was opened in its place, one address after the other.
"""

import asyncio
import itertools
import sys
import time
from typing import Final

from spoe_guard.address import Address, parse
from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.lab.faults import FAULTS
from spoe_guard.lab.frames import Family
from spoe_guard.lab.turns import Turns

AT_ONCE: Final = 64
PATIENCE_S: Final = 120.0


async def agents() -> None:
    often = Script(fault=FAULTS["missing_fin"], turn=Turns(time.monotonic, every=10))
    ports = [await ScriptedAgent(script, keep=False).listen_tcp() for script in (Script(), often)]
    print(*ports, flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def haproxys(sessions: int, addresses: list[Address]) -> None:
    families = itertools.cycle((Family.APPLET, Family.MUX))
    at_once = asyncio.Semaphore(AT_ONCE)

    async def connect(address: Address, family: Family) -> Engine:
        async with at_once:
            engine = await Engine.to(address, family, PATIENCE_S)
            assert await engine.hello() is not None
            return engine

    async def ask(engine: Engine) -> None:
        async with at_once:
            await engine.notify(b"/")
            assert await engine.read() is not None

    async def renew(of_each_one: list[Engine]) -> None:
        for at, each in enumerate(of_each):
            before, of_each_one[at] = of_each_one[at], await connect(*each)
            await before.close()

    of_each = list(zip(addresses, families, strict=False))
    engines = [await asyncio.gather(*(connect(*each) for each in of_each)) for _ in range(sessions)]
    print("open", flush=True)
    for of_each_one in itertools.cycle(engines):
        told = await asyncio.to_thread(sys.stdin.readline)
        if not told:
            return
        await asyncio.gather(*map(ask, of_each_one))
        if told == "renew\n":
            await renew(of_each_one)
        print("answered", flush=True)


if __name__ == "__main__":
    _what, *_told = sys.argv[1:]
    asyncio.run(agents() if _what == "agents" else haproxys(int(_told[0]), [parse(each) for each in _told[1:]]))
