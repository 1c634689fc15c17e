"""Grammars and regular expressions that callers write: taken as engines take them, or refused."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.guides.ebnf import read_grammar
from gateway.guides.errors import Unenforceable
from gateway.guides.grammar import ebnf
from gateway.guides.regex import pattern_grammar
from tests.unit.grammars import Grammar


@pytest.mark.parametrize(
    ("grammar", "texts"),
    [
        ('root ::= "a" | b\nb ::= ("b" "c")? [x-z]', ["a", "x", "bcz"]),
        ('# words\nroot::=w (" " w)* # more\nw ::= [a-z]+', ["a", "ab cd"]),
        ('root ::= "a"{2,3}\n  | "b"{2} | "c"{1,}', ["aa", "aaa", "bb", "c", "cc"]),
        ('root ::= "\\n\\"\\u00e9\\x41" [^a\\]\\-] ()', ['\n"éAb', '\n"éA😀']),
        ('root ::= [+\\-*] x.y-z_1\nx.y-z_1 ::= ""', ["+", "-", "*"]),
        ('root ::= "(" root ")" | ""', ["", "(())"]),
    ],
)
def test_grammars_are_read_as_they_are_meant(grammar: str, texts: list[str]) -> None:
    read = Grammar(grammar)

    assert [read.accepts(text) for text in texts] == [True] * len(texts)
    assert not read.accepts("@")


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        ("root ::= (", "line 1"),
        ("not a grammar", "a rule is expected"),
        ("root ::= x", "line 1: there is no rule 'x'"),
        ('rot ::= "a"', "needs a rule 'root'"),
        ('root ::= "a"\nroot ::= "b"', "line 2: the rule 'root' is defined twice"),
        ("root ::= root", "derives no text"),
        ('root ::= "a" root', "derives no text"),
        ("root ::= ", "something is expected"),
        ('root ::= "a" |', "something is expected"),
        ('root ::= "a" x ::= "b"', "a rule begins on a line of its own"),
        ('root ::= "a)', "is not expected"),
        ("root ::= [z-a]", "does not go up"),
        ("root ::= []", "is empty"),
        ("root ::= [é]", "beyond ASCII"),
        ('root ::= "\\d"', "the escape"),
        ('root ::= "a"**', "stands alone"),
        ('root ::= "a"{3,2}', "more at least"),
        ('root ::= ((("a"{99}){99}){99}){99}', "too large"),
        ('root ::= (= "a") "a"', "is not expected"),
        ('root ::= TagDispatch(("a", b))\nb ::= "x"', "is not expected|no rule"),
        ("root ::= " + "(" * 20_000, "nested deeper than"),
        ('root ::= root "a" | "b"', "'root' can begin with itself"),
        ('root ::= a\na ::= b? c* a | "2"\nb ::= ""\nc ::= "c"', "'a' can begin with itself"),
        ('root ::= a\na ::= (b | "1") "2"\nb ::= "" a "3"', "'[ab]' can begin with itself"),
        ('root ::= "\x00"', "is not expected"),
        ("root ::= [\x1b]", "is not expected"),
        ('root ::= "a" # \x00', "is not expected"),
    ],
)
def test_grammars_that_engines_cannot_take_are_refused(grammar: str, reason: str) -> None:
    with pytest.raises(Unenforceable, match=reason):
        read_grammar(grammar)


PATTERNS = [
    "a+",
    "(a|b)*c?",
    "^[a-c]{2,3}$",
    "x{3}",
    "[^a-z]",
    "\\d+\\.\\d{2}",
    "(?:ab)+|(?P<n>c)",
    "a*?b",
    "\\w+@\\w+",
    "[\\]\\-^]",
    "[a\\d-]",
    "\\x41\\u0042\\t",
    "a|",
    "(|b)c",
    ".",
    "[+\\s]{0,2}",
    "\\$\\^",
]


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(deadline=None, max_examples=50)
@given(text=st.text("abcdx19.@AB-]^$ \t\né", max_size=6))
def test_patterns_mean_what_they_mean_to_others(pattern: str, text: str) -> None:
    grammar = Grammar(ebnf({"root": pattern_grammar(pattern)}))

    expected = re.fullmatch(pattern, text, re.ASCII)

    assert grammar.accepts(text) == (expected is not None)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "not closed"),
        ("a)", "not opened"),
        ("[a", "breaks off"),
        ("*a", "nothing to repeat"),
        ("a{2,1}", "more at least"),
        ("a{x}", "of the form"),
        ("a**", "repeated"),
        ("[]", "empty"),
        (r"[^\w\W]", "leaves none"),
        ("(?=a)b", "no looking around"),
        ("(?<!a)b", "no looking around"),
        ("(?i)a", "no flags"),
        ("(a)\\1", "is not known"),
        ("\\ba", "is not known"),
        ("\\p{L}", "is not known"),
        ("a^b", "can only stand"),
        ("(a$)", "can only stand"),
        ("[[:alpha:]]", "named classes"),
        ("\\ud800", "is not known"),
        ("\\x4", "hexadecimal"),
        ("[b-a]", "does not go up"),
        ("[a-\\d]", "does not go up|for an end"),
        ("((a{999}){999})", "too large"),
        ("(" * 100, "nested deeper"),
        ("a" * 5000, "may have"),
        ("a\\", "breaks off"),
    ],
)
def test_patterns_that_engines_cannot_take_are_refused(pattern: str, reason: str) -> None:
    with pytest.raises(Unenforceable, match=reason):
        pattern_grammar(pattern)


@given(st.text("ab(|)[]{},?*+^$\\\\-1:<P>=!.", max_size=20))
def test_no_pattern_breaks_the_reader(pattern: str) -> None:
    try:
        text = ebnf({"root": pattern_grammar(pattern)})
    except Unenforceable:
        return

    read_grammar(text)


@given(st.text('root:=|()[]{}"a*+?#\n\\\\-^,1 ', max_size=40))
def test_no_grammar_breaks_the_reader(grammar: str) -> None:
    try:
        rules = read_grammar("root ::= " + grammar)
    except Unenforceable:
        return

    assert "root" in rules
