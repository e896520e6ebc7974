"""An agent on haproxyspoa, in its own environment; it takes the same command line as the other agents."""

import argparse
import asyncio
import importlib.metadata
import json
import random
from collections import defaultdict

from haproxyspoa.payloads.ack import AckPayload
from haproxyspoa.spoa_server import SpoaServer


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--delay-ms", default="0:0", metavar="MIN:MAX")
    return parser.parse_args()


async def serve(listen: str, delay_ms: str) -> None:
    shortest, longest = map(int, delay_ms.split(":"))

    async def answer(path: object = None, **_: object) -> AckPayload:
        await asyncio.sleep(random.randint(shortest, longest) / 1000)
        return AckPayload().set_txn_var("allowed", True).set_txn_var("echo", path)

    agent = SpoaServer()
    agent.handlers = defaultdict(lambda: [answer])  # for a message of any name
    host, _, port = listen.rpartition(":")
    server = await asyncio.start_server(agent.handle_connection, host, int(port))  # as SpoaServer.run() does
    host, port = server.sockets[0].getsockname()
    version = importlib.metadata.version("haproxyspoa")
    print(json.dumps({"address": f"{host}:{port}", "library": "haproxyspoa", "version": version}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    args = options()
    asyncio.run(serve(args.listen, args.delay_ms))
