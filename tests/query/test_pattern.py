"""A pattern finds the same lines in this process and in a worker, and a runaway pattern is stopped in both."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex_jupyter.errors import TooSlow
from cortex_jupyter.query.effort import max_safe_length
from cortex_jupyter.query.pattern import REACH, finder

#: Two ways to read a letter, as many times as there are letters.
EVIL = "(?:ab|a[b])*c"
_PATTERNS = (
    "b",
    "a.*b",
    "a.*b.*c",
    "(?i)A+ ?b",
    r"\bc",
    EVIL,
    "(a|b){2}$",
    r"(?P<x>a)(?P=x)",
    "(?=.*a)(?=.*b)",
    "^a?b{1,3}c",
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(_PATTERNS),
    st.lists(st.tuples(st.text("abc \u00e9\n", max_size=8), st.sampled_from([0, 300, 5000])), max_size=8),
    st.sets(st.integers(0, 7)),
)
def test_long_and_short_lines_are_searched_alike(pattern: str, parts: list[tuple[str, int]], asked: set[int]) -> None:
    texts = [head + "-" * more + head for head, more in parts]
    places = sorted(place for place in asked if place < len(texts))
    found = finder("grep", pattern).among(texts, places)
    assert found == [place for place in places if re.search(pattern, texts[place][:REACH])]


@pytest.mark.parametrize("pattern", [EVIL, "(?:a|ab|b)*c", "(x?y?){9,40}c", r"(a)(?:\1|a)*b", "(?:(?=a*)a)*b"])
def test_a_pattern_without_a_bound_never_runs_in_this_process(pattern: str) -> None:
    assert max_safe_length(pattern, REACH) == 0


def test_a_runaway_pattern_is_stopped_and_the_next_one_works() -> None:
    find = finder("grep", EVIL, 0.05)
    for _ in range(2):
        with pytest.raises(TooSlow, match=r"0\.05 s"):
            find.among(["ab" * 200], [0])
        assert find("abc")
    lines = ["x" * 2000] * 2000
    with pytest.raises(TooSlow):
        finder("grep", "x*y", 0.01).among(lines, range(len(lines)))


def test_several_threads_search_at_once() -> None:
    find, texts = finder("grep", EVIL), [f"{i}-abc" if i % 3 else f"{i}-ab" for i in range(50)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: find.among(texts, range(50)), range(12)))
    assert answers == [[i for i in range(50) if i % 3]] * 12
