from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import Batch, Cursor
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.query.pattern import finder

S = 1_000_000_000
NOW = 1_700_000_000 * S
#: The day of NOW, which is at 22:13:20.
DAY = NOW - (22 * 3600 + 13 * 60 + 20) * S


@pytest.mark.parametrize(
    ("value", "since"),
    [
        ("90s", NOW - 90 * S),
        ("10m", NOW - 600 * S),
        ("2h", NOW - 7200 * S),
        ("1d", NOW - 86400 * S),
        ("1w", NOW - 7 * 86400 * S),
        ("1h30m", NOW - 5400 * S),
        ("0.5s", NOW - S // 2),
        ("250ms", NOW - S // 4),
        ("all", None),
        ("ALL", None),
        (timedelta(minutes=1), NOW - 60 * S),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T23:13:20.000000001+01:00", NOW + 1),
        ("2023-11-14 22:13", NOW - 20 * S),
        (datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=UTC), NOW + 1000),
        ("99999999999d", 0),
        ("today", DAY),
        ("Yesterday", DAY - 86400 * S),
        ("2023-11-12", DAY - 2 * 86400 * S),
        ("yesterday 10:00", DAY - 14 * 3600 * S),
        ("2023-11-12 7:05:01.5", DAY - 2 * 86400 * S + 25501 * S + S // 2),
        ("10:00", DAY + 10 * 3600 * S),
        ("22:14", DAY - 86400 * S + (22 * 60 + 14) * 60 * S),
    ],
)
def test_since(value: object, since: int | None) -> None:
    assert LogQuery.parse({"since": value}, now=NOW).since == since


@pytest.mark.parametrize(
    ("since", "until", "window"),
    [
        ("yesterday", "yesterday", (DAY - 86400 * S, DAY - 1)),
        ("2023-11-12", "yesterday", (DAY - 2 * 86400 * S, DAY - 1)),
        ("10:00", "10:20", (DAY + 36000 * S, DAY + 37200 * S)),
        ("yesterday 23:00", "1:00", (DAY - 3600 * S, DAY + 3600 * S)),
        ("all", "10:20", (None, DAY + 37200 * S)),
        ("2h", "1h", (NOW - 7200 * S, NOW - 3600 * S)),
    ],
)
def test_a_window_of_days_and_times_of_day(since: str, until: str, window: tuple[int | None, int]) -> None:
    query = LogQuery.parse({"since": since, "until": until}, now=NOW)
    assert (query.since, query.until) == window
    # A saved query means the same on another day.
    assert LogQuery.parse(query.raw, now=NOW).since == query.since
    if "h" not in until:
        assert LogQuery.parse(query.raw, now=NOW + 3 * 86400 * S).until == query.until


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        ("10m", "10m"),
        (" 2h ", "2h"),
        ("all", "all"),
        ("2023-11-14T23:13:20+01:00", "2023-11-14T23:13:20+01:00"),
        ("yesterday", "2023-11-13T00:00:00.000000000Z"),
        (datetime(2023, 11, 13, 1, tzinfo=UTC), "2023-11-13T01:00:00.000000000Z"),
        (timedelta(minutes=10), "600s"),
        (timedelta(milliseconds=1500), "1.5s"),
    ],
)
def test_a_saved_window_is_a_duration_or_a_time(value: object, raw: str) -> None:
    query = LogQuery.parse({"since": value}, now=NOW)
    assert query.raw == {"since": raw} and LogQuery.parse(query.raw, now=NOW).since == query.since


def test_a_time_without_a_zone_is_utc() -> None:
    naive = datetime(2023, 11, 14, 22, 13, 20)  # noqa: DTZ001
    assert LogQuery.parse({"since": naive}).since == LogQuery.parse({"since": "2023-11-14T22:13:20"}).since == NOW


def test_strings_and_typed_values_mean_the_same() -> None:
    strings = {"follow": "true", "tail": "5", "limit": "7", "after": "3-9", "level": "WARN", "pretty": ""}
    typed = {"follow": True, "limit": 7, "after": Cursor(3, 9), "level": "warning", "pretty": True}
    strings.pop("tail")
    assert LogQuery.parse(strings, now=NOW) == LogQuery.parse(typed, now=NOW)


def test_defaults() -> None:
    query = LogQuery.parse({"pod": "", "tail": None}, default_since="1m", now=NOW)
    assert (query.since, query.until, query.tail, query.limit, query.follow) == (NOW - 60 * S, None, None, 1000, False)
    assert query.raw == {} and query.keep() is None
    assert query.with_default_since("all").since is None
    assert LogQuery.parse({"since": "5m"}, now=NOW).with_default_since("all").since == NOW - 300 * S
    # A run that is asked for may have ended long before the default window of a running task.
    run = LogQuery.parse({"run": "-2"}, default_since="1m", now=NOW)
    assert run.since is None and run.with_default_since("1m").since is None
    assert LogQuery.parse({"run": "-2", "since": "5m"}, now=NOW).since == NOW - 300 * S
    assert LogQuery.parse({"before": "1-2-3-4"}, default_since="1m").since is None, (
        "the default window applies although a cursor is given"
    )


@pytest.mark.parametrize(
    "values",
    [
        {"since": 90},
        {"since": True},
        {"since": "x"},
        {"until": "tomorrow"},
        {"since": "24:00"},
        {"since": "2023-13-01"},
        {"since": "10:60"},
        {"tail": 1.5},
        {"tail": True},
        {"limit": "1e3"},
        {"limit": "9" * 30},
        {"grep": 3},
        {"level": 30},
        {"level": "info,loud"},
        {"level": "="},
        {"after": "1-2-x"},
        {"grep": "a" * 1001},
        {"grep": "(" * 900},
        {"grep": r"(?P<x>a)(?P<x>b)"},
        {"grep": r"(\w+\s*)+$"},
        {"exclude": r"(a|a?)*b"},
    ],
)
def test_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BadQuery) as error:
        LogQuery.parse(values)
    assert error.value.hint and len(error.value.message) < 250


def test_parameters_of_the_caller_are_ignored() -> None:
    query = LogQuery.parse({"format": "text"}, allowed=frozenset({"format", "since"}))
    assert query.raw == {}
    with pytest.raises(BadQuery, match="did you mean 'format'"):
        LogQuery.parse({"fromat": "x"}, allowed=frozenset({"format", "since"}))
    with pytest.raises(BadQuery):
        LogQuery.parse({"limit": 1}, allowed=frozenset({"format", "since"}))


@given(
    st.dictionaries(
        st.sampled_from(["since", "until", "tail", "limit", "before", "grep", "level", "follow", "x"]),
        st.text(max_size=12),
    )
)
def test_any_parameters_are_parsed_or_refused(values: dict[str, str]) -> None:
    with contextlib.suppress(BadQuery):
        LogQuery.parse(values)


@pytest.mark.parametrize(
    "pattern", [r"\d{1,3}(?:\.\d{1,3}){3}", r"(?:[A-Z][a-z]+ ?)+:", r"(\s*\w+,)*", r"(foo|bar)+", r"a+.*b+"]
)
def test_usual_patterns_are_accepted(pattern: str) -> None:
    finder("grep", pattern)


def batch(texts: list[str]) -> Batch:
    sources = {
        1: {"pod": "train-0", "container": "main"},
        2: {"pod": "train-1", "container": "main"},
        3: {"pod": "train-0", "container": "side"},
    }
    n = len(texts)
    return Batch(
        "d:job/a", list(range(n)), [0] * n, [i % 3 + 1 for i in range(n)], [i % 3 for i in range(n)], texts, sources
    )


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"pod": "train-0"}, [0, 2, 3, 5]),
        ({"pod": "train-?", "container": "side"}, [2, 5]),
        ({"pod": "train"}, []),
        ({"stream": "stderr"}, [2, 5]),
        ({"level": "warn"}, [1, 2]),
        ({"level": "info"}, [0, 1, 2, 3, 5]),
        ({"level": "trace"}, [0, 1, 2, 3, 4, 5]),
        ({"level": "=warn"}, [1]),
        ({"level": "debug, error"}, [2, 4]),
        ({"level": "=info"}, [0, 3, 5]),
        ({"grep": "(?i)error|info"}, [0, 2]),
        ({"grep": "a.c"}, []),
        ({"exclude": "x$"}, [0, 1, 2, 4]),
        ({"grep": "x", "exclude": "xx", "pod": "train-0"}, [5]),
    ],
)
def test_filters(values: dict[str, str], kept: list[int]) -> None:
    keep = LogQuery.parse(values).keep()
    assert keep is not None
    assert list(keep(batch(["INFO a", "WARN b", "[error] c", "xx", "DEBUG d", "x"]))) == kept
