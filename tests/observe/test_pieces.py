"""Text in pieces is the text, no piece is long, and the memory that an answer took is there for the next one."""

import platform
import subprocess
import sys

import pytest

from spoe_guard.observe.pieces import PIECE, Pieces


@pytest.mark.parametrize("lengths", [[], [0], [1], [PIECE - 1, 1, 1], [PIECE, PIECE], [PIECE - 1, PIECE - 1, 2], [10] * PIECE])
def test_pieces_are_the_text_and_none_is_long(lengths):
    pieces, texts = Pieces(), [chr(97 + at % 26) * length for at, length in enumerate(lengths)]
    for text in texts:
        pieces.add(text)
    taken = pieces.taken()
    assert b"".join(taken).decode() == "".join(texts)
    assert max(map(len, taken), default=0) <= PIECE - 1 + max(lengths, default=1)
    assert len(taken) <= sum(lengths) // PIECE + 1


def test_whether_something_was_added_is_known():
    pieces = Pieces()
    assert not pieces
    pieces.add("a" * PIECE)
    assert pieces
    pieces.add("é")
    assert pieces.taken()[-1] == "é".encode()


FAULTS = """
import resource
from spoe_guard.observe import pieces

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    answer = [bytes([at]) * pieces.PIECE for at in range(140)]
    del answer
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{keep}
print(faults(), faults(), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has rules of its own; glibc comes with Debian")
@pytest.mark.parametrize(("keep", "kept"), [("", False), ("pieces.keep_freed_memory()", True)])
def test_an_answer_as_long_as_the_one_before_costs_no_page_fault(keep, kept):
    said = subprocess.run(
        [sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True, check=True, timeout=60
    )
    first, *others = map(int, said.stdout.split())
    assert first > 2000
    assert all(number < 100 if kept else number > 2000 for number in others)
