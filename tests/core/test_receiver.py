"""What is called for every read, whichever session it is."""

import pytest

from spoe_guard.core.anomalies import Side
from spoe_guard.core.observing import ObservedSession
from spoe_guard.core.receiver import Receiver
from spoe_guard.core.session import Session


def test_every_session_of_the_core_is_one_and_alone_it_knows_nothing_to_do():
    assert issubclass(Session, Receiver)
    assert issubclass(ObservedSession, Receiver)
    alone = Receiver(1.0)
    assert alone.deadline == 1.0
    with pytest.raises(NotImplementedError):
        alone.receive(Side.AGENT, b"", 0.0)
