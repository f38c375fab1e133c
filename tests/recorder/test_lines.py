"""Split bytes into lines: the lines do not depend on where the bytes are cut, and no byte is lost."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cortex_jupyter.model import rfc3339
from cortex_jupyter.recorder.text import lines as lib
from cortex_jupyter.recorder.text.lines import Lines, Splitter, parse, parse_cri
from cortex_jupyter.sandbox.logoptions import LogOptions
from cortex_jupyter.sandbox.logreader import Formatter

if TYPE_CHECKING:
    from collections.abc import Iterator

T0 = 1_700_000_000_000_000_000
times = st.integers(T0, T0 + 5_000_000_000)


def stamp(ns: int, digits: int = 9) -> bytes:
    whole = rfc3339(ns)
    return (whole[:20] + whole[20 : 20 + digits] + "Z" if digits else whole[:19] + "Z").encode()


@contextmanager
def with_limits(*, longest: int, part: int) -> Iterator[None]:
    """Split long lines at other lengths while the block runs."""
    before = lib.LONGEST, lib.PART_BYTES
    lib.LONGEST, lib.PART_BYTES = longest, part
    try:
        yield
    finally:
        lib.LONGEST, lib.PART_BYTES = before


def split(data: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """Feed data cut at some positions; return the joined results, and the unfinished rest."""
    splitter = Splitter()
    edges = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    pieces = b"".join(splitter.feed(data[a:b]) for a, b in itertools.pairwise(edges) if b > a)
    return pieces, splitter.rest()


# ------------------------------------------------------------------------ parse


@pytest.mark.parametrize("digits", range(10))
def test_fractions_of_a_second_have_any_number_of_digits_as_in_go(digits: int) -> None:
    ns = T0 + 123_456_789
    cut = T0 + 123_456_789 // 10 ** (9 - digits) * 10 ** (9 - digits)
    # Two lines, because the second one uses the cached date and time of the same second.
    found = parse((stamp(ns, digits) + b" x\n") * 2)
    assert found.times == [cut, cut]
    assert found.texts == ["x", "x"]


@given(st.lists(st.tuples(times, st.integers(0, 9))))
def test_times_equal_those_of_a_plain_parser(stamps: list[tuple[int, int]]) -> None:
    found = parse(b"".join(stamp(ns, digits) + b" x\n" for ns, digits in stamps))
    assert found.times == [ns // 10 ** (9 - d) * 10 ** (9 - d) for ns, d in stamps]
    seconds = [t - t % 1_000_000_000 for t in found.times]
    assert all(found.times[i] - found.times[i] % 1_000_000_000 == s for s, i in found.marks)
    assert [s for i, s in enumerate(seconds) if i == 0 or seconds[i - 1] != s] == [s for s, _ in found.marks]


def test_a_time_zone_offset_is_subtracted() -> None:
    found = parse(b"2023-11-15T00:13:20.5+02:00 a\n2023-11-14T22:13:20.25Z b\n2023-11-15T00:13:20.125+02:00 c\n")
    assert found.times == [T0 + 500_000_000, T0 + 250_000_000, T0 + 125_000_000]


def test_an_error_message_of_the_kubelet_is_no_line() -> None:
    texts = [
        "unable to retrieve container logs for containerd://abc",
        'failed to try resolving symlinks in path "/var/log/pods/x": no such file',
        "failed to create fsnotify watcher: too many open files",
        "2023-11-14 something",
    ]
    found = parse(b"".join(stamp(T0) + b" a\n" + t.encode() + b"\n" for t in texts))
    assert found.errors == texts
    assert found.texts == ["a"] * 4


def test_empty_lines_and_lines_without_text() -> None:
    assert parse(stamp(T0) + b" \n").texts == [""]
    assert parse(stamp(T0) + b"\n").texts == [""]
    for nothing in (b"", b"\n", b"\n\n", stamp(T0) + b" a\n\n"):
        assert parse(nothing).errors == []


def test_a_time_beyond_the_range_of_a_store_is_no_line() -> None:
    found = parse(b"0001-01-01T00:00:00Z zero\n9999-12-31T00:00:00Z end\n1969-12-31T23:59:59Z old\n")
    assert found.times == [] and len(found.errors) == 3


@given(st.lists(st.tuples(times, st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")))))
def test_bytes_that_are_not_utf8_survive(lines: list[tuple[int, bytes]]) -> None:
    found = parse(b"".join(stamp(ns) + b" " + body + b"\n" for ns, body in lines))
    assert found.texts == [body.decode("utf-8", "backslashreplace") for _, body in lines]
    assert found.times == [ns for ns, _ in lines]


def test_a_line_of_a_mebibyte() -> None:
    body = b"x" * (1 << 20)
    assert parse(stamp(T0) + b" " + body + b"\n").texts == [body.decode()]


# ------------------------------------------------------------------------ Splitter


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=30))
@example(b"a\nb\n", [0, 1, 2, 3])
def test_any_cut_of_any_bytes_gives_the_same_lines(data: bytes, cuts: list[int]) -> None:
    pieces, rest = split(data, cuts)
    assert pieces + rest == data
    assert not rest.count(b"\n")
    assert pieces == b"" or pieces.endswith(b"\n")


bodies = st.one_of(st.text(max_size=60).map(str.encode), st.binary(max_size=60)).map(lambda b: b.replace(b"\n", b""))


@given(st.lists(st.tuples(times, bodies), max_size=6), st.lists(st.integers(0, 500), max_size=20))
@example([(T0, b"\x80" * 60)], [])
@example([(T0, "ü".encode() * 30)], [])
@example([(T0, b"x" * 2), (T0, b"y" * 39)], [67, 68])
def test_a_line_that_is_too_long_is_always_split_the_same_way(lines: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(stamp(ns) + b" " + body + b"\n" for ns, body in lines)
    with with_limits(longest=24, part=12):
        once, _ = split(data, [])
        pieces, rest = split(data, cuts)
    assert (pieces, rest) == (once, b"")
    # The recorded parts of a line join to its text, and each part has the line's time.
    found = parse(once)
    assert not found.errors
    texts = iter(found.texts)
    for _ns, body in lines:
        full_text, text = body.decode("utf-8", "backslashreplace"), next(texts)
        while text != full_text:
            text += next(texts)
            assert full_text.startswith(text)
    assert next(texts, None) is None
    assert set(found.times) == {ns for ns, _ in lines}
    assert all(len(line) <= 24 + 31 for line in once.split(b"\n"))


def test_an_endless_line_does_not_fill_the_memory() -> None:
    splitter = Splitter()
    for body in (b"\x80", b"x", b"\xc3\xbc"):
        chunk = body * ((1 << 20) // len(body))
        out = sum(len(splitter.feed(stamp(T0) + b" " if i == 0 else chunk)) for i in range(12))
        assert out >= 2 * lib.LONGEST
        assert len(splitter.rest()) <= lib.LONGEST


def test_an_endless_text_without_a_time_is_passed_on() -> None:
    splitter = Splitter()
    out = sum(len(splitter.feed(b"x" * (1 << 20))) for _ in range(20))
    assert out <= 21 << 20


# ------------------------------------------------------------------------ lines in the file and as the kubelet serves them


def served(file: bytes, *, times_within: bool = False) -> Lines:
    """Parse a log file as the kubelet serves it. With `times_within`, as an old kubelet: with a time before each part of a line."""
    if times_within:
        records = [record.split(b" ", 3) for record in file.split(b"\n")[:-1]]
        answer = b"".join(
            stamp(T0 + n) + b" " + text + b"\n" * (tag == b"F") for n, (_, _, tag, text) in enumerate(records)
        )
    else:
        answer = Formatter(LogOptions(timestamps=True), None).convert(file)
    pieces, rest = split(answer, [])
    return parse(pieces + rest)


def written(records: list[tuple[bytes, bytes, bytes]]) -> bytes:
    lines = (b"%b %b %b %b\n" % (stamp(T0 + n), *record) for n, record in enumerate(records))
    return b"".join(lines) + stamp(T0 + len(records)) + b" stdout F the end\n"


part = st.tuples(st.sampled_from([b"stdout", b"stderr"]), st.sampled_from([b"P", b"F"]), st.sampled_from([1, 3, 16]))


@given(st.lists(part, max_size=12))
@example([(b"stdout", b"P", 16), (b"stderr", b"F", 1), (b"stdout", b"F", 3)])
@example([(b"stdout", b"P", 16)] * 5 + [(b"stdout", b"F", 3)])
def test_a_file_has_the_lines_that_the_kubelet_serves(parts: list[tuple[bytes, bytes, int]]) -> None:
    file = written([(stream, tag, bytes([97 + i]) * n) for i, (stream, tag, n) in enumerate(parts)])
    with with_limits(longest=32, part=16):
        found, expected = parse_cri(file), served(file)
    assert (found.times, found.texts) == (expected.times, expected.texts)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700])
def test_times_that_an_old_kubelet_writes_within_a_line_are_removed(size: int) -> None:
    parts = [(b"stdout", b"P", bytes([97 + i % 26]) * lib.PART_BYTES) for i in range(size)]
    for last in (b"stdout", b"stderr"):
        file = written([*parts, (last, b"F", b"last"), (b"stdout", b"F", b"2023-11-14T22:13:20.000000000Z x")])
        found = parse_cri(file)
        assert "".join(found.texts[:-2]) == "".join(text.decode() for _, _, text in parts) + "last"
        for old in (False, True):
            expected = served(file, times_within=old)
            assert (found.times, found.texts) == (expected.times, expected.texts)


@given(st.lists(st.integers(0, 1000), max_size=20))
def test_an_old_kubelets_line_is_the_same_however_it_arrives(cuts: list[int]) -> None:
    text = "ü".encode() * 7 + "x€xxü".encode() * 30
    parts = [text[i : i + 16] for i in range(0, len(text), 16)]
    answer = b"".join(stamp(T0) + b" " + one for one in parts) + b"\n"
    with with_limits(longest=32, part=16):
        pieces, rest = split(answer, cuts)
    found = parse(pieces)
    assert (rest, "".join(found.texts), found.errors) == (b"", text.decode(), [])
    assert all(28 < len(one.encode()) <= 32 for one in found.texts[:-1])
