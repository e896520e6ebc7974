"""Statements and sections: conditions, scopes and variables, and what is named because it is not understood."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.haproxy_config.source import Source
from spoe_guard.haproxy_config.statements import Reader, Variables, read_sections

FILE = Path("some.cfg")
KINDS = frozenset(("one", "two"))


def source(text: str) -> Source:
    return Source(FILE, tuple(text.splitlines(keepends=True)))


def read(text: str, **environ: str) -> tuple[list[str], list[str]]:
    """Return each statement with its section, scope and condition in words, and the notes."""
    reader = Reader(Variables.of(environ))
    seen = []
    for section, each in read_sections(reader, source(text), KINDS):
        words = " ".join(word.text for word in each.words)
        where = f"{section.kind} {section.name}".strip()
        scope = f" [{each.scope}]" if each.scope else ""
        condition = f" if {each.condition.line}" if each.condition else ""
        seen.append(f"{each.place.line}: {each.modifier} {words} in {where}{scope}{condition}".replace(":  ", ": "))
    return seen, [str(note) for note in reader.notes]


def test_each_statement_stands_in_the_section_above_it():
    seen, notes = read("one a\n  x 1 # c\n\n# c\ntwo\n  no y\n  default z\n")
    assert seen == ["1: one a in one a", "2: x 1 in one a", "5: two in two", "6: no y in two", "7: default z in two"]
    assert notes == []


def test_scopes_hold_until_the_next_one():
    seen, notes = read("one a\n [s] # c\nx\none b\n[t]\nx\n")
    assert seen == ["1: one a in one a", "3: x in one a [s]", "4: one b in one b [s]", "6: x in one b [t]"]
    assert notes == []


def test_what_is_no_scope_is_named_and_changes_none():
    seen, notes = read("one\n[a b]\n[]\n[a] b\n[a\nx\n")
    assert seen == ["1: one in one", "6: x in one"]
    assert notes == [
        f"some.cfg:{line}: expected a scope alone on its line, as in `[name]`; it is passed over" for line in (2, 3, 4, 5)
    ]


def test_what_stands_below_an_if_depends_on_it():
    text = "one\n.if a\nx\n.if b\ny\n.endif\n.elif c\nz\n.else\nz\n.endif\nw\n"
    seen, notes = read(text)
    assert seen == [
        "1: one in one",
        "3: x in one if 2",
        "5: y in one if 4",
        "8: z in one if 2",
        "10: z in one if 2",
        "12: w in one",
    ]
    assert notes == [f"some.cfg:{line}: `.if` is not evaluated; what depends on it is not used" for line in (2, 4)]


def test_conditions_that_do_not_fit_together_are_named():
    _, notes = read("one\n.else\n.endif\n.if a\n.unknown\n.notice hello\n")
    assert notes == [
        "some.cfg:2: `.else` without `.if`",
        "some.cfg:3: `.endif` without `.if`",
        "some.cfg:4: `.if` is not evaluated; what depends on it is not used",
        "some.cfg:5: `.unknown` is not known; it is passed over",
        "some.cfg:4: `.if` without `.endif`",
    ]


def test_a_line_that_haproxy_would_refuse_is_named_and_passed_over():
    seen, notes = read("one\nx 'y\nz\n")
    assert seen == ["1: one in one", "3: z in one"]
    assert notes == ["some.cfg:2: unmatched quote: HAProxy takes no such line; it is passed over"]


def test_what_stands_in_no_section_is_named_and_passed_over():
    seen, notes = read("x\none\n")
    assert seen == ["2: one in one"]
    assert notes == ["some.cfg:1: `x` stands in no section; it is passed over"]


def test_pseudo_variables_are_where_the_line_stands():
    seen, _ = read('one here\nx "${.FILE} ${.LINE} ${.SECTION}"\n')
    assert seen[1] == "2: x some.cfg 2 here in one here"


def variables(text: str, **environ: str) -> dict[str, str]:
    """Return the variables after these lines of a global section."""
    found = Variables.of(environ)
    for statement in Reader(found).statements(source(text)):
        found.take(statement)
    return found.values


def test_setenv_and_the_like_are_followed_as_haproxy_does():
    assert variables('setenv A 1\npresetenv A 2\npresetenv B "$A"\n', C="3") == {"A": "1", "B": "1", "C": "3"}
    assert variables("unsetenv A B\n", A="1", B="2", C="3") == {"C": "3"}
    assert variables("resetenv A\n", A="1", B="2") == {"A": "1"}


def test_reading_changes_nothing_of_the_environment_that_is_given():
    environ = {"A": "1"}
    Variables.of(environ).values["A"] = "2"
    assert environ == {"A": "1"}


@given(st.text(alphabet="onetw .ifels[]'\"#$\\\n", max_size=120))
def test_no_text_does_harm(text):
    read(text)
