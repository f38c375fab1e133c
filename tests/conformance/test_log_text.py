"""What the bytes of a log are (tailers.md, sections 4.1 and 4.5)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pytest

STAMPED = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d)) (.*)", re.DOTALL)


@pytest.fixture
def log(target: Any, specimens: Any) -> Any:
    """Return the log of the pod `text`, which has ended."""
    specimens.done("text")
    return lambda **query: target.kube.logs(specimens.names["text"], **query)


def records(data: bytes) -> list[tuple[datetime, bytes]]:
    """Read lines with their times; only the last may lack its newline."""
    found = [STAMPED.fullmatch(line) for line in data.split(b"\n") if line]
    assert all(found), data[:200]
    return [(datetime.fromisoformat(m[1].decode()[:26] + m[1].decode()[29:]), m[2]) for m in found if m]


def test_last_line_without_newline_is_delivered_as_it_is(log: Any) -> None:
    assert log().endswith(b"\nno newline")
    assert log(timestamps="true").endswith(b" no newline")


def test_bytes_that_are_not_utf8_pass(log: Any) -> None:
    assert b"\n\xff\xfe no text\n\n" in log()


def test_long_line_is_joined(log: Any) -> None:
    assert b"\n" + b"L" * 40000 + b"\n" in log()


def test_long_line_has_one_timestamp(log: Any, target: Any) -> None:
    target.needs(24, "one timestamp per line, not one per 16 KiB record (kubernetes#113481),")
    assert b" " + b"L" * 40000 + b"\n" in log(timestamps="true")


def test_every_line_has_a_time_of_nine_digits(log: Any) -> None:
    lines = [line for line in log(timestamps="true").split(b"\n") if line]
    assert len(lines) > 30
    assert all(STAMPED.fullmatch(line) for line in lines)


def test_stdout_and_stderr_come_in_one_stream(log: Any) -> None:
    assert b"\nto stderr\n" in log() and b"\nafter stderr\n" in log()


def test_streams_apart(log: Any, target: Any) -> None:
    target.needs(32, "the `stream` option")
    assert log(stream="Stderr") == b"to stderr\n"
    assert b"to stderr" not in log(stream="Stdout") and log(stream="All") == log()


def test_content_type_is_plain_text(target: Any, specimens: Any) -> None:
    specimens.done("text")
    response = target.kube.log(specimens.names["text"])
    assert response.headers["Content-Type"].partition(";")[0] == "text/plain"
    assert "Content-Encoding" not in response.headers


def test_since_time_is_inclusive_and_cut_to_the_second(log: Any) -> None:
    ticks = [r for r in records(log(timestamps="true")) if r[1].startswith(b"tick")]
    middle = ticks[15][0].replace(microsecond=0)
    expected = [text for time, text in ticks if time >= middle]
    assert 0 < len(expected) < 30
    for within in (timedelta(), timedelta(milliseconds=999)):
        asked = log(timestamps="true", sinceTime=(middle + within).isoformat().replace("+00:00", "Z"))
        assert [text for _, text in records(asked) if text.startswith(b"tick")] == expected


def test_since_seconds_counts_back_from_now(log: Any) -> None:
    assert log(sinceSeconds=86400) == log()


def test_tail_counts_raw_records_so_a_long_line_is_several(log: Any) -> None:
    # Written last: 3 records of the long line, stderr, "after stderr", and the piece without newline.
    assert log(tailLines=2) == b"after stderr\nno newline"
    cut = log(tailLines=4)
    assert cut == b"L" * (40000 - 2 * 16384) + b"\n" + b"to stderr\nafter stderr\nno newline"


def test_tail_comes_before_since(log: Any) -> None:
    ticks = [r for r in records(log(timestamps="true")) if r[1].startswith(b"tick")]
    early = ticks[0][0].replace(microsecond=0).isoformat().replace("+00:00", "Z")
    assert log(tailLines=2, sinceTime=early) == log(tailLines=2)
    assert log(tailLines=2, sinceTime="2999-01-01T00:00:00Z") == b""


def test_tail_of_nothing_and_of_more_than_there_is(log: Any) -> None:
    assert log(tailLines=0) == b""
    assert log(tailLines=100000) == log()


def test_limit_counts_the_timestamp_and_cuts_within_a_line(log: Any) -> None:
    whole = log(timestamps="true")
    assert log(timestamps="true", limitBytes=100) == whole[:100]
    assert log(limitBytes=10) == b"tick 00\nti"


def test_limit_probe_gives_the_oldest_time(log: Any) -> None:
    assert STAMPED.match(log(timestamps="true", limitBytes=40))


def test_follow_of_an_ended_container_gives_all_and_ends(target: Any, specimens: Any) -> None:
    specimens.done("text")
    with target.kube.following(specimens.names["text"]) as follower:
        assert follower.join() == target.kube.logs(specimens.names["text"])
        assert follower.error is None


def test_follow_with_tail_begins_there(target: Any, specimens: Any) -> None:
    specimens.done("text")
    with target.kube.following(specimens.names["text"], tailLines=2) as follower:
        assert follower.join() == b"after stderr\nno newline"


def test_init_container_by_name(target: Any, specimens: Any) -> None:
    specimens.done("two")
    assert target.kube.logs(specimens.names["two"], container="prepare") == b"prepared\n"
    assert target.kube.logs(specimens.names["two"], container="aside") == b"from aside\n"
