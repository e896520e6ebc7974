"""Text in pieces is the text, and no piece is long."""

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
