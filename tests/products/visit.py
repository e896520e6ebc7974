"""``python visit.py PORT CLIENT,PATH,STATUS...``: visitors of a site, who ask until standard input ends.

Each visit is made again and again, from its client's address, on a connection of its own, several at a time. "going" is printed
once some have had their answer, and at the end a JSON object: how many got the status they are to get, and how many another, by
what they asked for and what they got.
"""

import http.client
import json
import sys
import threading
from collections import Counter

VISITORS = 8
SOME = 100
PATIENCE_S = 120
HEADERS = {"Host": "shop.example", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Accept": "*/*"}


def status(port: int, client: str, path: str) -> int:
    """Return the status that a request gets, 0 if none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, PATIENCE_S, source_address=(client, 0))
    try:
        connection.request("GET", path, headers=HEADERS)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def main(port: int, *visits: str) -> None:
    """Visit until standard input ends."""
    wanted = [(client, path, int(expected)) for client, path, expected in (visit.split(",") for visit in visits)]
    over, going = threading.Event(), threading.Event()
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    lock = threading.Lock()

    def visitor() -> None:
        while not over.is_set():
            for client, path, expected in wanted:
                got = status(port, client, path)
                with lock:
                    (right if got == expected else wrong)[f"{client} {path} {got}"] += 1
                if right.total() + wrong.total() >= SOME:
                    going.set()

    threads = [threading.Thread(target=visitor) for _ in range(VISITORS)]
    for thread in threads:
        thread.start()
    going.wait(PATIENCE_S)
    print("going", flush=True)
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    print(json.dumps({"right": right.total(), "wrong": wrong}))


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
