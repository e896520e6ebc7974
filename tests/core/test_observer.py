"""What the network ring may ask of an observer is what the observe ring offers."""

import inspect

from spoe_guard.net.observer import Observer
from spoe_guard.observe import observer


def test_the_observe_ring_answers_every_call_by_the_same_names() -> None:
    theirs = next(
        kind
        for _, kind in inspect.getmembers(observer, inspect.isclass)
        if kind.__module__ == observer.__name__ and hasattr(kind, "seen")
    )
    asked = {name: call for name, call in inspect.getmembers(Observer, inspect.isfunction) if not name.startswith("_")}
    assert asked
    for name, call in asked.items():
        assert list(inspect.signature(getattr(theirs, name)).parameters) == list(inspect.signature(call).parameters)
