"""How a line of HAProxy's configuration is cut into words, compared with what HAProxy itself makes of it."""

import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.haproxy_config.words import MAX_WORDS, Cut, Word, cut, expand_address
from tests.integration import generations

SET = {"ONE": "one", "EMPTY": "", "LIST": "a  b c"}


def texts(line: str) -> list[str]:
    done = cut(line, SET.get)
    assert not done.fault
    return [word.text for word in done.words]


# Each line is one that HAProxy 3.2 was asked about, too: see below.
LINES = [
    ("plain words", "one two\tthree", ["one", "two", "three"]),
    ("blanks around", "  \t one  ", ["one"]),
    ("a comment", "one # two", ["one"]),
    ("a comment without a blank", "one#two", ["one"]),
    ("double quotes", 'a "b c" d', ["a", "b c", "d"]),
    ("single quotes", "a 'b c' d", ["a", "b c", "d"]),
    ("quotes inside a word", "a\"b c\"'d e'f", ["ab cd ef"]),
    ("one kind of quotes inside the other", '"it\'s" \'a "b"\'', ["it's", 'a "b"']),
    ("a comment sign in quotes", "a '#b' \"#c\" \\#d", ["a", "#b", "#c", "#d"]),
    ("an escaped blank", "a\\ b", ["a b"]),
    ("an escaped backslash", "a\\\\b", ["a\\b"]),
    ("escaped quotes", '\\"a \\\'b "\\"c"', ['"a', "'b", '"c']),
    ("a backslash in single quotes", "'a\\nb\\'", ["a\\nb\\"]),
    ("hexadecimal", "a\\x41\\x7a", ["aAz"]),
    ("a backslash before another character", "a\\d\\1", ["a\\d\\1"]),
    ("a backslash at the end", "a b\\", ["a", "b\\"]),
    ("a variable in double quotes", '"$ONE" "${ONE}x"', ["one", "onex"]),
    ("a variable in single quotes or none", "'$ONE' $ONE ${ONE}", ["$ONE", "$ONE", "${ONE}"]),
    ("an escaped dollar", '"\\$ONE" \\$ONE', ["$ONE", "\\$ONE"]),
    ("a default", '"${NONE-two}" "${ONE-two}"', ["two", "one"]),
    ("a list as words", 'x "${LIST[*]}" y', ["x", "a", "b", "c", "y"]),
    ("a list inside a word", 'x"${LIST[*]}"y', ["xa", "b", "cy"]),
    ("a list without quotes around stays one word", 'x "$LIST" y', ["x", "a  b c", "y"]),
]


@pytest.mark.parametrize(("line", "words"), [case[1:] for case in LINES], ids=[case[0] for case in LINES])
def test_a_line_is_cut_as_haproxys_manual_says(line, words):
    assert texts(line) == words


@pytest.mark.parametrize("version", ["3.0", "3.2"])  # earlier ones cannot print what they have read
def test_haproxy_cuts_each_line_into_the_same_words(tmp_path, version):
    lines = "".join(f"    acl x{number} {line}\n" for number, (_, line, _) in enumerate(LINES))
    (tmp_path / "haproxy.cfg").write_text(f"defaults\n{lines}")
    command = [generations.find(version).program, "-dC", "-c", "-f", tmp_path / "haproxy.cfg"]
    environment = SET | {"PATH": "/usr/bin:/bin"}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False).stdout
    seen = dict(re.findall(r"^\tacl (x\d+) (.*) $", printed, re.MULTILINE))
    assert seen == {f"x{number}": " ".join(words) for number, (_, _, words) in enumerate(LINES)}


def test_a_line_ends_at_its_line_feed_or_carriage_return():
    assert texts("one two\r\n") == ["one", "two"]
    assert texts("one\rtwo\n") == ["one"]


@pytest.mark.parametrize("line", ['""', "''", '"$EMPTY"', '"${EMPTY}"'])
def test_empty_quotes_are_a_word_without_text(line):
    assert texts(f"a {line} b") == ["a", "", "b"]


def test_an_empty_list_is_no_word():
    assert texts('a "${EMPTY[*]}" b') == ["a", "b"]


FAULTS = [
    ('a "b', "unmatched quote"),
    ("a 'b", "unmatched quote"),
    ("a \\x4", "truncated or invalid hexadecimal sequence"),
    ("a \\xzz", "truncated or invalid hexadecimal sequence"),
    ('"${ONE"', "unmatched brace in the name of a variable"),
    ('"${ONE+x}"', "unmatched brace in the name of a variable"),
    ('"$1"', "forbidden first character in the name of a variable"),
    ('"$"', "forbidden first character in the name of a variable"),
]


@pytest.mark.parametrize(("line", "fault"), FAULTS)
def test_a_line_that_haproxy_refuses_has_a_fault(line, fault):
    assert cut(line, SET.get).fault == fault


def test_sixty_four_words_are_taken_and_one_more_is_a_fault():
    assert len(texts("w " * MAX_WORDS)) == MAX_WORDS == 64
    assert cut("w " * (MAX_WORDS + 1), SET.get).fault == "more than 64 words"


def test_a_word_knows_where_it_stands_with_its_quotes():
    line = 'server "a b" x"y"  \'z\' # "a b"'
    words = cut(line, SET.get).words
    assert [line[word.start : word.end] for word in words] == ["server", '"a b"', 'x"y"', "'z'"]


def test_a_word_out_of_a_list_has_no_place_of_its_own():
    words = cut('a "${LIST[*]}" "$ONE"', SET.get).words
    assert [(word.text, word.split) for word in words] == [("a", False), ("a", True), ("b", True), ("c", True), ("one", False)]


def test_variables_are_named_and_those_without_a_value_and_default():
    done = cut('"$ONE" "$NONE" "${OTHER-x}" "${EMPTY}"', SET.get)
    assert (done.used, done.unset) == (["ONE", "NONE", "OTHER", "EMPTY"], ["NONE"])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("$ONE:80", "one:80"),
        ("${ONE}:80", "one:80"),
        ("a.$ONE.b", "a.one.b"),
        ("${NONE}:80", ":80"),
        ("10.0.0.1:80", "10.0.0.1:80"),
    ],
)
def test_an_address_has_its_variables_replaced_without_quotes(text, address):
    assert expand_address(text, SET.get).words == [Word(address, 0, len(text))]


@given(st.text(alphabet="ab \t\\'\"#${}[*]-ONE.x4\r\n\udcff", max_size=40))
def test_no_line_does_harm_and_every_word_lies_in_its_line(line):
    done = cut(line, SET.get)
    assert isinstance(done, Cut)
    ends = [0]
    for word in done.words if not done.fault else ():
        assert 0 <= word.start <= word.end <= len(line)
        assert word.split or word.start >= ends[-1]
        ends.append(word.end)


@given(st.text(alphabet="ab.:/-\t \v\f", max_size=40))
def test_a_line_without_signs_is_cut_alike_in_quotes_and_without(line):
    """The quick way, for lines without quotes and the like, and the careful one cut the same."""
    assert texts(line) == texts(line + " ''")[:-1]
