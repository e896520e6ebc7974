"""The settings that the properties run under."""

from hypothesis import strategies as st

from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly
from spoe_guard.core.terms.config import Redispatch, SessionConfig, Unanswered
from spoe_guard.core.terms.policy import Policy

# To let one of these pass is to ask for what the promises exclude; so the promises are not tested under it.
_PASSABLE = frozenset(
    (
        Anomaly.NOTIFY_EMPTY,
        Anomaly.NOTIFY_DUPLICATE,
        Anomaly.NOTIFY_UNANSWERED,
        Anomaly.ACK_PROC_SCOPE,
        Anomaly.GLITCH_FLOOD,
    )
)
# H5 is given away by these choices, and by any that ends the session early.
_COSTS_ANSWERS = {Anomaly.ACK_AFTER_DISCONNECT: Action.DROP, Anomaly.ACK_NULL_VALUE: Action.DROP}


def _choices(allowed: dict[Anomaly, list[Action]]) -> st.SearchStrategy[Policy]:
    names = [anomaly for anomaly, actions in allowed.items() if len(actions) > 1]
    one = st.sampled_from(names).flatmap(lambda anomaly: st.tuples(st.just(anomaly), st.sampled_from(allowed[anomaly])))
    return st.lists(one, max_size=6).map(lambda chosen: Policy(dict(chosen)))


_ORDER = list(Action)
ALL = {anomaly: sorted(row.allowed, key=_ORDER.index) for anomaly, row in CATALOGUE.items()}
KEEPING = {
    anomaly: [action for action in actions if action is not Action.PASS or anomaly in _PASSABLE]
    for anomaly, actions in ALL.items()
}
ANSWERING = {
    anomaly: [action for action in actions if action is not Action.CLOSE and _COSTS_ANSWERS.get(anomaly) is not action]
    for anomaly, actions in KEEPING.items()
}

any_policy = _choices(ALL)
promising_policy = _choices(KEEPING)
answering_policy = _choices(ANSWERING)


def configs(
    policy: st.SearchStrategy[Policy],
    *,
    observe: bool = False,
    exact_keys: bool = False,
    lasts: bool = True,
    tells: bool = True,
    floods: bool = True,
) -> st.SearchStrategy[SessionConfig]:
    """Settings as ``check`` would let them pass: room for a frame in ``held_bytes``.

    ``exact_keys``: whether they may be asked for; what the checkers take for no HELLO at all may then be mended.
    ``lasts``: whether sessions may outlive their agent links. ``tells``: whether they may end for a NOTIFY without an answer,
    ``floods``: for a few anomalies.
    """
    sizes = st.sampled_from([(None, 1048576), (None, 1048576), (None, 16384), (1024, 1028), (256, 260)])
    return st.builds(
        lambda size, **rest: SessionConfig(max_frame_size=size[0], held_bytes=size[1], **rest),
        sizes,
        observe=st.just(observe),
        policy=policy,
        capabilities=st.sampled_from(
            [frozenset(("pipelining",)), frozenset(("pipelining", "fragmentation", "async")), frozenset()]
        ),
        always_offer=st.sampled_from([frozenset(), frozenset(), frozenset(("pipelining",)), frozenset(("fragmentation",))]),
        engine_id=st.sampled_from([None, None, "guard"]),
        exact_keys=st.booleans() if exact_keys else st.just(False),
        disconnect_hold_s=st.sampled_from([0.5, 0.5, 0.0, 3.0]),
        unanswered=st.sampled_from([choice for choice in Unanswered if tells or choice is not Unanswered.TELL]),
        error_name=st.just(b"error"),
        answer_deadline_s=st.sampled_from([None, None, 0.3]),
        park_s=st.sampled_from([None, None, 0.2]),
        agent_hello_s=st.sampled_from([None, None, 0.1]),
        open_notifies=st.sampled_from([65536, 65536, 2, 1]),
        glitches=st.sampled_from([1000, 1000, 1, 4]) if floods else st.just(1000),
        give_up_s=st.sampled_from([0.0, 0.0, 5.0, 0.4]) if lasts else st.just(0.0),
        max_links=st.sampled_from([1, 1, 2, 20]),
        in_flight=st.sampled_from([0, 0, 1, 2]),
        retire_s=st.sampled_from([None, None, 0.3]),
        redispatch=st.sampled_from([Redispatch.UNSENT, Redispatch.UNANSWERED, Redispatch.OFF]),
    )


DEFAULT = SessionConfig()
