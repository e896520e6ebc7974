"""The control socket's setting, the mode of a route, and what `ctl` changes in settings that are in effect."""

import pytest

from spoe_guard.settings import changes, fixed, hello_changes, session_config, warnings, with_log_level, with_mode

TWO = "routes: [{name: a, listen: '127.0.0.1:1'}, {name: b, listen: '127.0.0.1:2', mode: observe}]"
OWN = "expected an address of its own"


@pytest.mark.parametrize("written", ["127.0.0.1:9465", "localhost:1", "'[::1]:1'"])
def test_it_is_never_on_tcp(problems, written):
    [problem] = problems(f"admin: {{control: {written}}}")
    assert problem.endswith("expected unix:/path: only of a file can be said who may change a running guard")


@pytest.mark.parametrize("written", ["unix:control", "7", "unix:@control"])
def test_it_is_a_path_or_nothing(problems, written):
    [problem] = problems(f"admin: {{control: '{written}'}}")
    assert problem.startswith("admin.control: ")


def test_it_is_off_unless_set(from_yaml):
    assert from_yaml("{}").settings.admin.control is None
    assert str(from_yaml("admin: {control: 'unix:/run/x'}").settings.admin.control) == "unix:/run/x"


def test_no_other_may_have_its_address(problems):
    [problem] = problems("admin: {listen: 'unix:/run/x', control: 'unix:/run/x'}")
    assert problem == f"admin.control: 'unix:/run/x' (FILE:1): {OWN}: admin.listen has this one"


def test_a_running_guard_keeps_it(from_yaml):
    [problem] = fixed(from_yaml("{}"), from_yaml("admin: {control: 'unix:/run/x'}"))
    assert str(problem).endswith("cannot change while the guard runs (it is null): needs a restart")


def test_a_route_has_its_own_mode_or_that_of_all(from_yaml):
    settings = from_yaml(TWO).settings
    assert [settings.mode_of(route) for route in settings.routes] == ["enforce", "observe"]
    assert [session_config(settings, route).observe for route in settings.routes] == [False, True]
    assert hello_changes(settings, settings.routes[1]) == ["none: in observe mode not a byte is changed"]
    assert len(hello_changes(settings, settings.routes[0])) > 1
    settings = from_yaml(TWO + "\nmode: observe").settings
    assert [settings.mode_of(route) for route in settings.routes] == ["observe", "observe"]
    settings = from_yaml(TWO.replace("mode: observe", "mode: enforce") + "\nmode: observe").settings
    assert [settings.mode_of(route) for route in settings.routes] == ["observe", "enforce"]


def test_warnings_are_about_the_mode_of_the_route(from_yaml):
    links = "routes: [{links: {max: 2, in_flight: 1}, mode: observe}]"
    assert warnings(from_yaml(links).settings)[0].startswith("routes[0].links: no effect in observe mode")
    assert warnings(from_yaml(links.replace("observe", "enforce") + "\nmode: observe").settings) == []
    workers = warnings(from_yaml("workers: 2\n" + TWO).settings)
    assert any(note.startswith("workers: with async") for note in workers)


def test_an_unknown_mode_of_a_route_is_refused(problems):
    [problem] = problems("routes: [{mode: enforced}]")
    assert problem == "routes[0].mode: 'enforced' (FILE:1): allowed: enforce, observe"


def test_what_ctl_changes_is_one_key_with_its_origin(from_yaml):
    loaded = from_yaml(TWO)
    for new, key, value in (
        (with_mode(loaded, "b", "enforce"), "routes[1].mode", "enforce"),
        (with_log_level(loaded, "debug"), "log.level", "debug"),
    ):
        assert changes(loaded, new).keys == (key,)
        assert (key, value, "ctl") in new.rows()
    assert not changes(loaded, with_mode(loaded, "b", "observe"))
