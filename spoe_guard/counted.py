"""How many of something, in words."""


def counted(number: int, one: str, many: str = "") -> str:
    """Return the number and what is counted: ``1 byte``, ``2 bytes``. ``many``: the plural, if it is not ``one`` with an s."""
    return f"{number} {one if number == 1 else many or one + 's'}"
