"""Alignment after a reconnect returns exactly the new lines, whatever the lines are and however they arrive."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from cortex_jupyter.model import rfc3339
from cortex_jupyter.recorder.text.align import Aligner
from cortex_jupyter.recorder.text.lines import parse
from cortex_jupyter.recorder.text.resume import ResumeFilter, ends_with

Line = tuple[int, str]
T0 = 1_700_000_000_000_000_000
#: Few times and few texts, so that the same line occurs often and times are out of order.
few = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ab")), max_size=14)
chunks = st.lists(st.integers(1, 5), max_size=14)


def overlap(recorded: list[Line], arrived: list[Line]) -> int:
    """Give the length of the longest end of `recorded` that `arrived` begins with: the rule, word by word."""
    return next(n for n in range(len(recorded), -1, -1) if recorded[len(recorded) - n :] == arrived[:n])


def place_before_hidden(recorded: list[Line], arrived: list[Line]) -> int | None:
    """Return where among the recorded lines the first arrived one stands, if lines that were hidden before arrive behind it.

    It is the only recorded line of its time; or from there on, and from no other place, the lines agree up to one that is
    older than the line before it and than the recorded line in its place.
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
    places = [
        i
        for i in of_its_time
        for k in range(1, min(len(arrived), len(recorded) - i))
        if recorded[i : i + k] == arrived[:k] and arrived[k][0] < min(arrived[k - 1][0], recorded[i + k][0])
    ]
    return places[0] if len(places) == 1 else None


def hidden(recorded: list[Line], arrived: list[Line], place: int) -> int | None:
    """Return the place after the last recorded line where others arrive between them; None where it does not come."""
    left = recorded[place:].count(recorded[-1])
    places = [i for i, line in enumerate(arrived, 1) if line == recorded[-1]]
    return places[left - 1] if len(places) >= left else None


def cut(lines: list[Line], sizes: list[int]) -> list[list[Line]]:
    parts, at = [], 0
    for size in [*sizes, len(lines)]:
        parts.append(lines[at : at + size])
        at += size
    return [p for p in parts if p]


def written(lines: list[Line]) -> bytes:
    return b"".join(f"{rfc3339(T0 + t)} {text}\n".encode() for t, text in lines)


async def resumed(recorded: list[Line], arrived: list[Line], sizes: list[int]) -> tuple[list[Line], ResumeFilter]:
    resume = ResumeFilter([(T0 + t, text) for t, text in recorded])
    out = b""
    for part in cut(arrived, sizes):
        out += await resume.feed(written(part))
    out += resume.end()
    found = parse(out)
    return [(t - T0, text) for t, text in zip(found.times, found.texts, strict=True)], resume


@given(few, few, chunks)
@example([(0, "a"), (0, "a"), (0, "b"), (0, "a"), (0, "a")], [(0, "a"), (0, "a"), (0, "a")], [1, 1])
@example([(1, "a"), (0, "a")], [(1, "a")], [])
@example([(1, "a"), (2, "a")], [(1, "a"), (0, "b"), (2, "a"), (3, "a")], [])
@example([(2, "a"), (2, "b"), (1, "a")], [(2, "a"), (2, "b"), (0, "b"), (1, "a")], [])
def test_the_longest_matching_suffix_is_skipped(recorded: list[Line], arrived: list[Line], sizes: list[int]) -> None:
    aligner = Aligner(recorded)
    skip = None
    for part in cut(arrived, sizes):
        skip = aligner.feed(part)
        if skip is not None:
            break
    if (place := place_before_hidden(recorded, arrived)) is not None:
        assert skip == hidden(recorded, arrived, place)
        if skip is None:
            assert aligner.settle() == 0 and not aligner.overlaps
        return
    if skip is None and arrived:
        # Not decided: so far it is all recorded.
        skip = aligner.settle()
        assert skip == len(arrived)
        assert any(recorded[i : i + skip] == arrived for i in range(len(recorded))) or not recorded
        return
    assert skip in (None, overlap(recorded, arrived))
    assert aligner.overlaps == (not recorded or not arrived or bool(skip))


@given(few, few, chunks)
async def test_a_file_that_is_read_again_yields_its_new_lines(
    recorded: list[Line], new: list[Line], sizes: list[int]
) -> None:
    # Nothing was rotated away: then it is exact, however often a line repeats.
    out, resume = await resumed(recorded, recorded + new, sizes)
    assert out == new
    assert not resume.unaligned


@given(st.data(), few, chunks)
async def test_after_a_rotation(data: st.DataObject, new: list[Line], sizes: list[int]) -> None:
    # Each line is another, as it is where the clock has nanoseconds.
    n = data.draw(st.integers(1, 10))
    recorded = [(i % 4, str(i)) for i in range(n)]
    gone = data.draw(st.integers(0, n + 3))
    lost = [(9, f"lost {i}") for i in range(3)]
    file = [*recorded, *lost, *new] if gone > n else [*recorded, *new]
    out, resume = await resumed(recorded, file[gone:], sizes)
    if gone < n:
        assert out == new and not resume.unaligned
    else:
        assert out == file[max(gone, n) :]
        if out:
            assert (resume.recorded[-1][0], resume.unaligned[0][0]) == (T0 + recorded[-1][0], T0 + out[0][0])


async def test_a_thousand_equal_lines_in_one_nanosecond() -> None:
    recorded = [(5, "ok")] * 1000
    for sizes in ([], [1] * 1500, [999, 1], [1000], [1001]):
        out, resume = await resumed(recorded, [(5, "ok")] * 1500, sizes)
        assert out == [(5, "ok")] * 500
        assert not resume.unaligned


def test_repeated_lines_take_linear_time() -> None:
    """A coarse clock and a loop that prints `ok`: not quadratic, or this would not come back."""
    recorded = [(5, "ok")] * 200_000
    aligner = Aligner(recorded)
    for _ in range(150):
        assert aligner.feed(recorded[:1000]) is None
    assert aligner.feed([(5, "other")]) == 150_000


async def test_a_stream_that_pauses_within_the_recorded_lines() -> None:
    recorded = [(i, str(i)) for i in range(10)]
    resume = ResumeFilter([(T0 + t, text) for t, text in recorded])
    assert await resume.feed(written(recorded[:4])) == b""
    # What follows is recorded too, though the stream was slow to repeat it.
    assert await resume.feed(written(recorded[4:])) == b""
    assert await resume.feed(written([(11, "new")])) == written([(11, "new")])


async def test_a_stream_without_a_line_decides_nothing() -> None:
    resume = ResumeFilter([(T0, "a")])
    assert resume.end() == b""
    assert not resume.unaligned


async def test_a_text_of_the_kubelet_does_not_disturb_alignment() -> None:
    resume = ResumeFilter([(T0, "a"), (T0 + 1, "b")])
    assert await resume.feed(written([(0, "a")]) + b"failed to watch directory\n") == b""
    assert await resume.feed(written([(1, "b"), (2, "c")])) == written([(2, "c")])


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
    # All that eight pieces of 16 KiB hold: the line's time is its first piece's, the probe's is its own.
    assert ends_with([A, LONG], [(5, "x" * 131_072)])
    assert not ends_with([A, LONG], [(5, "y" * 131_072)])
