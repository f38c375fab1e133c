"""The bytes of a log: lines, timestamps, and the query options that select them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conformance.conftest import Specimens
    from conftest import Target


TIMED_LINE = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d)) (.*)", re.DOTALL)


@pytest.fixture
def log(target: Target, specimens: Specimens) -> Any:
    """Return a function that reads the log of the pod `text`, which has ended."""
    specimens.wait_ended("text")
    return lambda **query: target.kube.logs(specimens.names["text"], **query)


def records(data: bytes) -> list[tuple[datetime, bytes]]:
    """Parse lines with their times; the last may lack its newline."""
    matches = [TIMED_LINE.fullmatch(line) for line in data.split(b"\n") if line]
    assert all(matches), data[:200]
    return [(datetime.fromisoformat(m[1].decode()[:26] + m[1].decode()[29:]), m[2]) for m in matches if m]


def test_last_line_without_newline_is_delivered_unchanged(log: Any) -> None:
    assert log().endswith(b"\nno newline")
    assert log(timestamps="true").endswith(b" no newline")


def test_bytes_that_are_not_utf8_pass(log: Any) -> None:
    assert b"\n\xff\xfe no text\n\n" in log()


def test_long_line_is_joined(log: Any) -> None:
    assert b"\n" + b"L" * 40000 + b"\n" in log()


def test_long_line_has_one_timestamp(log: Any, target: Target) -> None:
    target.needs(24, "one timestamp per line, not one per 16 KiB record (kubernetes#113481),")
    assert b" " + b"L" * 40000 + b"\n" in log(timestamps="true")


def test_every_line_has_a_time_of_nine_digits(log: Any) -> None:
    lines = [line for line in log(timestamps="true").split(b"\n") if line]
    assert len(lines) > 30
    assert all(TIMED_LINE.fullmatch(line) for line in lines)


def test_stdout_and_stderr_come_in_one_stream(log: Any) -> None:
    assert b"\nto stderr\n" in log() and b"\nafter stderr\n" in log()


def test_stream_selects_stdout_or_stderr(log: Any, target: Target) -> None:
    target.needs(32, "the `stream` option")
    assert log(stream="Stderr") == b"to stderr\n"
    assert b"to stderr" not in log(stream="Stdout") and log(stream="All") == log()


def test_content_type_is_plain_text(target: Target, specimens: Specimens) -> None:
    specimens.wait_ended("text")
    response = target.kube.log(specimens.names["text"])
    assert response.headers["Content-Type"].partition(";")[0] == "text/plain"
    assert "Content-Encoding" not in response.headers


def test_since_time_is_inclusive_and_truncated_to_the_second(log: Any) -> None:
    ticks = [r for r in records(log(timestamps="true")) if r[1].startswith(b"tick")]
    middle = ticks[15][0].replace(microsecond=0)
    expected = [text for time, text in ticks if time >= middle]
    assert 0 < len(expected) < 30
    for fraction in (timedelta(), timedelta(milliseconds=999)):
        answer = log(timestamps="true", sinceTime=(middle + fraction).isoformat().replace("+00:00", "Z"))
        assert [text for _, text in records(answer) if text.startswith(b"tick")] == expected


def test_since_seconds_counts_back_from_now(log: Any) -> None:
    assert log(sinceSeconds=86400) == log()


def test_tail_counts_raw_records_of_long_lines(log: Any) -> None:
    # The last records: 3 of the long line, stderr, "after stderr", and the line without newline.
    assert log(tailLines=2) == b"after stderr\nno newline"
    cut = log(tailLines=4)
    assert cut == b"L" * (40000 - 2 * 16384) + b"\n" + b"to stderr\nafter stderr\nno newline"


def test_tail_comes_before_since(log: Any) -> None:
    ticks = [r for r in records(log(timestamps="true")) if r[1].startswith(b"tick")]
    early = ticks[0][0].replace(microsecond=0).isoformat().replace("+00:00", "Z")
    assert log(tailLines=2, sinceTime=early) == log(tailLines=2)
    assert log(tailLines=2, sinceTime="2999-01-01T00:00:00Z") == b""


def test_tail_of_zero_and_of_more_than_all(log: Any) -> None:
    assert log(tailLines=0) == b""
    assert log(tailLines=100000) == log()


def test_limit_includes_timestamps_and_cuts_within_a_line(log: Any) -> None:
    log_bytes = log(timestamps="true")
    assert log(timestamps="true", limitBytes=100) == log_bytes[:100]
    assert log(limitBytes=10) == b"tick 00\nti"


def test_a_small_limit_returns_the_oldest_time(log: Any) -> None:
    assert TIMED_LINE.match(log(timestamps="true", limitBytes=40))


def test_follow_of_an_ended_container_sends_all_and_ends(target: Target, specimens: Specimens) -> None:
    specimens.wait_ended("text")
    with target.kube.following(specimens.names["text"]) as follower:
        assert follower.join() == target.kube.logs(specimens.names["text"])
        assert follower.error is None


def test_follow_with_tail_starts_at_the_tail(target: Target, specimens: Specimens) -> None:
    specimens.wait_ended("text")
    with target.kube.following(specimens.names["text"], tailLines=2) as follower:
        assert follower.join() == b"after stderr\nno newline"


def test_init_container_by_name(target: Target, specimens: Specimens) -> None:
    specimens.wait_ended("two")
    assert target.kube.logs(specimens.names["two"], container="prepare") == b"prepared\n"
    assert target.kube.logs(specimens.names["two"], container="aside") == b"from aside\n"
