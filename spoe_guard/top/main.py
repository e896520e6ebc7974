"""``spoe-guard top``: ask once, then show the screen, or print the reason in one line."""

from functools import partial

from spoe_guard.address import Address
from spoe_guard.top.ask import ask


class NotInstalledError(Exception):
    """The extra is missing. The text names it and the way to install it."""


def main(address: Address) -> None:
    """Show the guard at ``address`` until the user quits.

    Raises:
        NotInstalledError: the extra ``top`` is not installed.
        NoAnswerError: no guard with a live page answers at ``address``.
    """
    try:
        from spoe_guard.top.app import Top  # noqa: PLC0415 the import takes half a second, and needs an extra
    except ModuleNotFoundError as error:
        raise NotInstalledError(f"{error.name} is not installed: pip install 'spoe-guard[top]'") from None
    Top(partial(ask, address), ask(address)).run()
