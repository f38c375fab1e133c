"""Alignment after a reconnect returns exactly the new lines, whatever their content and however they arrive."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from cortex_jupyter.model import rfc3339
from cortex_jupyter.recorder.text.align import Aligner
from cortex_jupyter.recorder.text.lines import parse
from cortex_jupyter.recorder.text.resume import ResumeFilter, ends_with

Line = tuple[int, str]
T0 = 1_700_000_000_000_000_000
#: Lists of lines with few different times and texts, so that the same line occurs often and times are out of order.
line_lists = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), max_size=14)
chunk_sizes = st.lists(st.integers(1, 5), max_size=14)


def overlap(recorded: list[Line], arrived: list[Line]) -> int:
    """Return the length of the longest suffix of `recorded` with which `arrived` begins.

    This is the rule of docs/explanation/architecture.md, written without any optimisation.
    """
    return next(n for n in range(len(recorded), -1, -1) if recorded[len(recorded) - n :] == arrived[:n])


def index_before_hidden_lines(recorded: list[Line], arrived: list[Line]) -> int | None:
    """Return the index of the recorded line that equals the first arrived line, if lines that `sinceTime` hid arrive after it.

    There are two cases. Either no other recorded line has the same time. Or exactly one index exists from which both lists
    agree up to an arrived line that is older than its predecessor and older than the recorded line at that position.
    """
    if (
        len(arrived) < 2
        or overlap(recorded, arrived)
        or any(recorded[i : i + len(arrived)] == arrived for i in range(len(recorded)))
    ):
        return None
    of_its_time = [i for i, line in enumerate(recorded) if line[0] == arrived[0][0]]
    if [recorded[i] for i in of_its_time] == arrived[:1]:
        return of_its_time[0]
    indexes = [
        i
        for i in of_its_time
        for k in range(1, min(len(arrived), len(recorded) - i))
        if recorded[i : i + k] == arrived[:k] and arrived[k][0] < min(arrived[k - 1][0], recorded[i + k][0])
    ]
    return indexes[0] if len(indexes) == 1 else None


def count_with_hidden_lines(recorded: list[Line], arrived: list[Line], index: int) -> int | None:
    """Return how many arrived lines end with the last recorded line, if hidden lines arrive between the recorded ones.

    All of these are skipped. Return None if the last recorded line did not arrive.
    """
    left = recorded[index:].count(recorded[-1])
    positions = [i for i, line in enumerate(arrived, 1) if line == recorded[-1]]
    return positions[left - 1] if len(positions) >= left else None


def split_into(lines: list[Line], sizes: list[int]) -> list[list[Line]]:
    parts, at = [], 0
    for size in [*sizes, len(lines)]:
        parts.append(lines[at : at + size])
        at += size
    return [p for p in parts if p]


def as_log_bytes(lines: list[Line]) -> bytes:
    return b"".join(f"{rfc3339(T0 + t)} {text}\n".encode() for t, text in lines)


async def run_resume_filter(
    recorded: list[Line], arrived: list[Line], sizes: list[int]
) -> tuple[list[Line], ResumeFilter]:
    resume = ResumeFilter([(T0 + t, text) for t, text in recorded])
    out = b""
    for part in split_into(arrived, sizes):
        out += await resume.feed(as_log_bytes(part))
    out += await resume.end()
    found = parse(out)
    return [(t - T0, text) for t, text in zip(found.times, found.texts, strict=True)], resume


@given(line_lists, line_lists, chunk_sizes)
@example([(0, "a"), (0, "a"), (0, "b"), (0, "a"), (0, "a")], [(0, "a"), (0, "a"), (0, "a")], [1, 1])
@example([(1, "a"), (0, "a")], [(1, "a")], [])
@example([(1, "a"), (2, "a")], [(1, "a"), (0, "b"), (2, "a"), (3, "a")], [])
@example([(2, "a"), (2, "b"), (1, "a")], [(2, "a"), (2, "b"), (0, "b"), (1, "a")], [])
def test_the_longest_matching_suffix_is_skipped(recorded: list[Line], arrived: list[Line], sizes: list[int]) -> None:
    aligner = Aligner(recorded)
    skip = None
    for part in split_into(arrived, sizes):
        skip = aligner.feed(part)
        if skip is not None:
            break
    if (index := index_before_hidden_lines(recorded, arrived)) is not None:
        assert skip == count_with_hidden_lines(recorded, arrived, index)
        if skip is None:
            assert aligner.settle() == 0 and not aligner.overlaps
        return
    if skip is None and arrived:
        # The aligner could not decide yet: all lines so far can be recorded ones.
        skip = aligner.settle()
        assert skip == len(arrived)
        assert any(recorded[i : i + skip] == arrived for i in range(len(recorded))) or not recorded
        return
    assert skip in (None, overlap(recorded, arrived))
    assert aligner.overlaps == (not recorded or not arrived or bool(skip))


@given(line_lists, line_lists, chunk_sizes)
async def test_a_file_that_is_read_again_yields_its_new_lines(
    recorded: list[Line], new: list[Line], sizes: list[int]
) -> None:
    # No line was rotated away, so the result is exact even if lines repeat.
    out, resume = await run_resume_filter(recorded, recorded + new, sizes)
    assert out == new
    assert not resume.unaligned


@given(st.data(), line_lists, chunk_sizes)
async def test_only_new_lines_are_kept_after_a_rotation(data: st.DataObject, new: list[Line], sizes: list[int]) -> None:
    # Every line is unique, as on nodes whose clock counts nanoseconds.
    n = data.draw(st.integers(1, 10))
    recorded = [(i % 4, str(i)) for i in range(n)]
    gone = data.draw(st.integers(0, n + 3))
    lost = [(9, f"lost {i}") for i in range(3)]
    file = [*recorded, *lost, *new] if gone > n else [*recorded, *new]
    out, resume = await run_resume_filter(recorded, file[gone:], sizes)
    if gone < n:
        assert out == new and not resume.unaligned
    else:
        assert out == file[max(gone, n) :]
        if out:
            assert (resume.recorded[-1][0], resume.unaligned[0][0]) == (T0 + recorded[-1][0], T0 + out[0][0])


async def test_a_thousand_equal_lines_in_one_nanosecond() -> None:
    recorded = [(5, "ok")] * 1000
    for sizes in ([], [1] * 1500, [999, 1], [1000], [1001]):
        out, resume = await run_resume_filter(recorded, [(5, "ok")] * 1500, sizes)
        assert out == [(5, "ok")] * 500
        assert not resume.unaligned


def test_repeated_lines_take_linear_time() -> None:
    """A loop that prints `ok` under a coarse clock writes many equal lines. A quadratic search would not finish."""
    recorded = [(5, "ok")] * 200_000
    aligner = Aligner(recorded)
    for _ in range(150):
        assert aligner.feed(recorded[:1000]) is None
    assert aligner.feed([(5, "other")]) == 150_000


async def test_a_pause_within_the_recorded_lines_duplicates_nothing() -> None:
    recorded = [(i, str(i)) for i in range(10)]
    resume = ResumeFilter([(T0 + t, text) for t, text in recorded])
    assert await resume.feed(as_log_bytes(recorded[:4])) == b""
    # The next lines are recorded ones too; the stream was only slow to repeat them.
    assert await resume.feed(as_log_bytes(recorded[4:])) == b""
    assert await resume.feed(as_log_bytes([(11, "new")])) == as_log_bytes([(11, "new")])


async def test_a_stream_without_a_line_decides_nothing() -> None:
    resume = ResumeFilter([(T0, "a")])
    assert await resume.end() == b""
    assert not resume.unaligned


async def test_an_error_message_of_the_kubelet_does_not_disturb_alignment() -> None:
    resume = ResumeFilter([(T0, "a"), (T0 + 1, "b")])
    assert await resume.feed(as_log_bytes([(0, "a")]) + b"failed to watch directory\n") == b""
    assert await resume.feed(as_log_bytes([(1, "b"), (2, "c")])) == as_log_bytes([(2, "c")])


# ------------------------------------------------------------------------ ends_with

A, B, C, LONG = (1, "a"), (2, "b"), (3, "c"), (4, "x" * 200_000)


def test_recorded_last_lines_are_recognised() -> None:
    assert ends_with([], [])
    assert ends_with([A, B, C], [A, B, C])
    assert ends_with([B, C], [A, B, C])
    assert ends_with([A, B, C], [B, C])
    assert ends_with([A], [A])


def test_unrecorded_last_lines_are_recognised() -> None:
    assert not ends_with([], [A])
    assert not ends_with([A], [])
    assert not ends_with([A, B], [A, B, C])
    assert not ends_with([A], [B])
    assert not ends_with([(1, "xa")], [A])


def test_the_first_line_of_a_probe_may_be_the_end_of_a_longer_one() -> None:
    assert ends_with([LONG, B], [(4, "xxx"), B])
    # A probe returns at most eight pieces of 16 KiB. The recorded line has the time of its first piece, the probe that of a later one.
    assert ends_with([A, LONG], [(5, "x" * 131_072)])
    assert not ends_with([A, LONG], [(5, "y" * 131_072)])
