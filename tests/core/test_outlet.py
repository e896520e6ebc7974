from spoe_guard.core.conversation.outlet import Outlet


def test_pieces_come_out_in_order_and_in_one_piece() -> None:
    way = Outlet()
    way.forward(b"one")
    assert way.author(b"two")
    way.forward(b"three")
    assert way.take() == b"onetwothree"
    assert way.take() == b""


def test_a_single_piece_is_handed_on_without_a_copy() -> None:
    way = Outlet()
    data = bytes(1000)
    way.forward(data)
    assert way.take() is data


def test_every_byte_is_in_the_books() -> None:
    way = Outlet()
    way.forward(b"12345")
    way.author(b"123")
    way.drop(7)
    assert (way.books.forwarded, way.books.authored, way.books.dropped) == (5, 3, 7)


def test_behind_the_seal_nothing_goes_out_and_what_came_counts_as_dropped() -> None:
    way = Outlet()
    way.forward(b"last")
    way.seal()
    way.forward(b"late!")
    assert not way.author(b"later")
    assert way.take() == b"last"
    assert (way.books.forwarded, way.books.authored, way.books.dropped) == (4, 0, 5)
