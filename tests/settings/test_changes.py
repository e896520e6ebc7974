"""The differences between two settings, and those that a running guard cannot apply."""

import pytest

from spoe_guard.settings import Loaded, Settings, changes, fixed

TWO = "routes: [{name: a, listen: '127.0.0.1:1'}, {name: b, listen: '127.0.0.1:2'}]"


def test_settings_that_are_the_same_have_no_changes(from_yaml):
    assert not changes(from_yaml(TWO), from_yaml(TWO))


def test_changed_keys_are_named_whatever_their_old_value_was(from_yaml):
    before = from_yaml("routes: [{policy: {runt_frame: close}, agent: 'a:1'}]\nmode: observe")
    after = from_yaml("routes: [{policy: {empty_ack: repair}, agent: ['a:1', 'b:1']}]\nmode: observe")
    found = changes(before, after)
    assert set(found.keys) == {"routes[0].policy.runt_frame", "routes[0].policy.empty_ack", "routes[0].agent"}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "share_listen: true",
            "share_listen: false",
            "share_listen: False ({}:1): cannot change while the guard runs (it is true): needs a restart",
        ),
        (
            "handover_dir: /run/a",
            "handover_dir: /run/b",
            "handover_dir: '/run/b' ({}:1): cannot change while the guard runs (it is /run/a): needs a restart",
        ),
        (
            "{}",
            "admin: {listen: null}",
            "admin.listen: null ({}:1): cannot change while the guard runs (it is 127.0.0.1:9464): needs a restart",
        ),
        (
            "share_listen: true\nadmin: {listen: null}",
            "share_listen: true",
            (
                "admin.listen: '127.0.0.1:9464' (default): cannot change while the guard runs (it is null): "
                "needs a restart, or with share_listen a second guard that takes over"
            ),
        ),
        (
            "routes: [{listen: 'unix:/a', socket: {mode: '0660'}}]",
            "routes: [{listen: 'unix:/a', socket: {mode: '0666'}}]",
            "routes[0].socket.mode: '0666' ({}:1): cannot change while the guard runs (it is 0660): needs a restart",
        ),
        (
            "routes: [{listen: 'unix:/a', socket: {group: 0}}]",
            "routes: [{listen: 'unix:/a'}]",
            "routes[0].socket.group: null (default): cannot change while the guard runs (it is 0): needs a restart",
        ),
        (
            TWO,
            TWO.replace("{name: a,", "{name: a, health: listen,"),
            "routes[0].health: 'listen' ({}:1): cannot change while the guard runs (it is check): needs a restart",
        ),
        (
            "routes: [{name: a, listen: 'unix:/a', socket: {mode: '0660'}}]",
            "routes: [{name: b, listen: 'unix:/a', socket: {mode: '0666'}}]",
            "routes[0].socket.mode: '0666' ({}:1): cannot change while the guard runs (it is 0660): needs a restart",
        ),
    ],
)
def test_what_needs_a_restart_is_said_with_what_there_is(from_yaml, tmp_path, before, after, message):
    assert list(map(str, fixed(from_yaml(before), from_yaml(after)))) == [message.replace("{}", str(tmp_path / "guard.yaml"))]


def test_the_rights_of_no_unix_socket_may_change(from_yaml):
    assert fixed(from_yaml("{}"), from_yaml("routes: [{socket: {mode: '0666'}}]")) == []


def test_the_number_of_workers_needs_a_restart(from_yaml):
    [problem] = fixed(from_yaml("{}"), Loaded(Settings(workers=2), {("workers",): "flag --workers"}))
    assert str(problem) == "workers: 2 (flag --workers): cannot change while the guard runs (it is 1): needs a restart"


def test_the_order_of_routes_and_all_else_may_change(from_yaml):
    other = "{listen: '127.0.0.1:2', name: b, agent: 'a:1'}"
    after = f"routes: [{other}, {{name: a, listen: '127.0.0.1:1'}}]\nmode: observe\ncapture: {{dir: /x}}\nlog: {{level: debug}}"
    assert fixed(from_yaml(TWO), from_yaml(after)) == []


C = "{name: c, listen: '127.0.0.1:3'}"


@pytest.mark.parametrize(
    ("after", "keys", "added", "removed"),
    [
        (TWO.replace("]", f", {C}]"), (), ("c",), ()),
        (TWO.replace("[", f"[{C}, "), (), ("c",), ()),
        ("routes: [{name: b, listen: '127.0.0.1:2'}]", (), (), ("a",)),
        (TWO.replace("name: a", "name: c"), (), ("c",), ("a",)),
        (TWO.replace(":2", ":3"), ("routes[1].listen",), (), ()),
        (f"routes: [{C}, {{name: a, listen: '127.0.0.1:4'}}]\nmode: observe", ("routes[1].listen", "mode"), ("c",), ("b",)),
    ],
    ids=["added", "added_first", "removed", "renamed", "moved", "all_of_it"],
)
def test_routes_that_come_and_go_are_named(from_yaml, after, keys, added, removed):
    before, new = from_yaml(TWO), from_yaml(after)
    found = changes(before, new)
    assert (set(found.keys), found.added, found.removed) == (set(keys), added, removed)
    assert fixed(before, new) == []


def test_a_route_that_listens_elsewhere_may_change_how_it_listens(from_yaml):
    before = "routes: [{name: a, listen: 'unix:/a', socket: {mode: '0660'}}]"
    after = "routes: [{name: a, listen: 'unix:/b', socket: {mode: '0666'}}]"
    assert fixed(from_yaml(before), from_yaml(after)) == []
    assert fixed(from_yaml(TWO), from_yaml(TWO.replace("'127.0.0.1:1'", "'127.0.0.1:3', health: listen"))) == []
