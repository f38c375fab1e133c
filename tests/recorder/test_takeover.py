"""Recorders come and go. The recording has each line of the file once, and the anchor is correct at each commit.

The tests use the path of a line without a cluster: a file, the kubelet's filter (which omits each line older than
`sinceTime`), the resume filter, the batcher, and a store in memory.
"""

from __future__ import annotations

import asyncio

from hypothesis import example, given
from hypothesis import strategies as st

from cortex_jupyter.model import Batch, Entry, Source, rfc3339
from cortex_jupyter.parsing.masking import Mask
from cortex_jupyter.recorder.text.masking import UNMASKED, Masking
from cortex_jupyter.recorder.text.resume import ResumeFilter, recorded_lines
from cortex_jupyter.recorder.writing.batch import Batcher, PendingNotice, RawLines, SourceProgress
from cortex_jupyter.store import Anchor, Commit

SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
Line = tuple[int, str]

#: Time from one line to the next (ms): mostly forward, or slightly back as with two writers, or a clock that is set.
steps = st.one_of(
    st.integers(0, 700),
    st.integers(-30, 30),
    st.integers(-30, 30),
    st.just(0),
    st.sampled_from([-3_600_000, 3_600_000, -5_000, 5_000, -2_100, -1_900]),
)
files = st.lists(st.tuples(steps, st.sampled_from(["ok", "loss", "x"])), min_size=1, max_size=30)
#: Times without a clock set back by seconds, since the node omits lines older than the anchor. test_clock_set_back.py tests those:
#: only the reader finds them, when it compares the whole log at its end.
mild = st.one_of(st.integers(0, 700), st.integers(-30, 30), st.just(0), st.just(3_600_000))
mild_files = st.lists(st.tuples(mild, st.sampled_from(["ok", "loss", "x"])), min_size=1, max_size=30)
sizes = st.lists(st.integers(1, 6), min_size=1, max_size=12)


def lines_of(deltas: list[tuple[int, str]]) -> list[Line]:
    now, lines = T0 + 7_200 * SECOND, []
    for delta, text in deltas:
        now += delta * 1_000_000
        lines.append((now, text))
    return lines


def as_bytes(lines: list[Line]) -> bytes:
    return b"".join(f"{rfc3339(t)} {text}\n".encode() for t, text in lines)


class MemoryStore:
    """A store in memory with what a recorder of one recording needs."""

    def __init__(self) -> None:
        self.stored: list[Entry] = []
        self.anchors: dict[int, Anchor] = {}
        self.masked: dict[str, int] | None = None

    def commit(self, commit: Commit) -> None:
        self.stored += commit.entries
        self.masked = commit.update.get("masked", self.masked)
        self.anchors |= commit.anchors

    def entries(self, recording: int, after: int, most: int) -> list[Entry]:
        return [e for e in self.stored if e.last > after]

    def lines(self, sid: int) -> list[tuple[int, int, str]]:
        """Return (seq, time, text) of a source's records."""
        batches = [Batch.decode(e.data) for e in self.stored if e.event == "log"]
        rows = [row for b in batches for row in zip(b.seqs, b.sids, b.times, b.texts, strict=True)]
        return [(q, t, m) for q, s, t, m in rows if s == sid]

    @property
    def next_seq(self) -> int:
        return self.stored[-1].last + 1 if self.stored else 1


def batcher(memory: MemoryStore, sids: range, masking: Masking = UNMASKED) -> Batcher:
    """Return the batcher of a recorder that takes over."""
    new = Batcher("t", memory.next_seq, masking, memory.masked)
    for sid in sids:
        new.progress[sid] = SourceProgress(Source(f"p{sid}", "u", "main", f"c{sid}"), memory.anchors.get(sid, Anchor()))
    return new


def check_anchor(memory: MemoryStore, sid: int) -> None:
    """Check that the lines read back from the anchor are those that the API would repeat."""
    anchor = memory.anchors.get(sid, Anchor())
    repeated = [(t, m) for _, t, m in memory.lines(sid) if t >= anchor.second]
    found = recorded_lines(memory, 1, sid, anchor)  # type: ignore[arg-type]
    assert found == (repeated if anchor.last else [])


@given(files, sizes, st.lists(st.booleans(), max_size=12))
@example([(0, "far"), (-3_600_000, "a")] + [(700, "a")] * 9, [2, 1], [True] * 12)
@example([(0, "far")] + [(-3_600_000, "a")] + [(700, "a")] * 9, [1], [True] * 12)
@example([(0, "far"), (-3_600_000, "a")] + [(700, "a")] * 9, [2, 1], [True])
def test_the_anchor_is_correct_at_every_commit(
    deltas: list[tuple[int, str]], batches: list[int], takeovers: list[bool]
) -> None:
    memory, lines, at = MemoryStore(), lines_of(deltas), 0
    writer = batcher(memory, range(1, 2))
    for i in range(len(lines)):
        size = batches[i % len(batches)]
        if part := lines[at : at + size]:
            memory.commit(writer.build([RawLines(1, as_bytes(part))]))
            check_anchor(memory, 1)
        at += size
        if i < len(takeovers) and takeovers[i]:
            writer = batcher(memory, range(1, 2))
    assert [(t, m) for _, t, m in memory.lines(1)] == lines


async def record(
    memory: MemoryStore, lines: list[Line], batches: list[int], commits: int, masking: Masking = UNMASKED
) -> None:
    """Read lines as a recorder that takes over does, and die after so many commits."""
    anchor = memory.anchors.get(1, Anchor())
    writer = batcher(memory, range(1, 2), masking)
    sent = [line for line in lines if line[0] >= anchor.second]
    resume = ResumeFilter(masking.rows(recorded_lines(memory, 1, 1, anchor)), masking)  # type: ignore[arg-type]
    for i in range(commits):
        size = batches[i % len(batches)]
        part, sent = sent[:size], sent[size:]
        if not part:
            break
        if new := await resume.feed(as_bytes(part)):
            memory.commit(writer.build([RawLines(1, new)]))
    assert not resume.unaligned


@given(mild_files, sizes, st.lists(st.integers(0, 31), max_size=6))
def test_no_line_is_lost_or_doubled_by_takeovers(
    deltas: list[tuple[int, str]], batches: list[int], deaths: list[int]
) -> None:
    """Each recorder reads a part of the file and dies at some commit."""
    memory, lines = MemoryStore(), lines_of(deltas)

    async def run() -> None:
        for number, death in enumerate(deaths):
            await record(memory, lines[: death + number], batches, death)
        await record(memory, lines, batches, 1 << 30)

    asyncio.run(run())
    assert [(t, m) for _, t, m in memory.lines(1)] == lines


#: Texts with and without secrets. Two differ only in a secret, and one equals another after masking.
secrets = st.sampled_from(
    [
        "ok",
        "token=abcdefgh by ann@example.org",
        "token=hgfedcba by ann@example.org",
        "token=[masked] by [masked]",
        "eve@example.org",
    ]
)
secret_files = st.lists(st.tuples(mild, secrets), min_size=1, max_size=30)


@given(secret_files, sizes, st.lists(st.tuples(st.integers(0, 31), st.booleans()), max_size=6), st.booleans())
@example([(0, "eve@example.org"), (100, "ok"), (100, "eve@example.org")], [1], [(1, False), (2, True)], True)
@example([(0, "eve@example.org"), (100, "ok"), (100, "eve@example.org")], [1], [(1, True), (2, False)], True)
def test_masking_may_be_turned_on_between_takeovers(
    deltas: list[tuple[int, str]], batches: list[int], deaths: list[tuple[int, bool]], last: bool
) -> None:
    """No line is lost or duplicated, each line is stored masked or plain as it should be, and each secret counts once."""
    memory, lines = MemoryStore(), lines_of(deltas)
    expected: list[Line] = []

    async def life(upto: int, commits: int, *, masked: bool) -> None:
        masking = Masking(masked or memory.masked is not None)
        await record(memory, lines[:upto], batches, commits, masking)
        expected.extend(masking.rows(lines[len(expected) : len(memory.lines(1))]))

    async def run() -> None:
        for number, (death, masked) in enumerate(deaths):
            await life(death + number, death, masked=masked)
        await life(len(lines), 1 << 30, masked=last)

    asyncio.run(run())
    assert [(t, m) for _, t, m in memory.lines(1)] == expected and len(expected) == len(lines)
    counted = Mask()
    counted.each([raw for (_, raw), (_, kept) in zip(lines, expected, strict=True) if raw != kept])
    assert (memory.masked or {}) == counted.counts


@given(st.lists(files, min_size=2, max_size=3), st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5)), max_size=15))
def test_several_sources_are_merged_each_in_the_order_of_its_file(
    deltas: list[list[tuple[int, str]]], turns: list[tuple[int, int]]
) -> None:
    memory, sids = MemoryStore(), range(1, len(deltas) + 1)
    files_ = {sid: lines_of(deltas[sid - 1]) for sid in sids}
    given_ = dict.fromkeys(sids, 0)
    writer = batcher(memory, sids)
    items: list[RawLines | PendingNotice] = []
    for number, size in turns:
        sid = number if number in sids else 1
        if part := files_[sid][given_[sid] : given_[sid] + size]:
            items.append(RawLines(sid, as_bytes(part)))
            given_[sid] += len(part)
        if size == 5:
            items.append(PendingNotice("status", "said", T0, sid))
        if number == 3:
            memory.commit(writer.build(items))
            items = []
    memory.commit(writer.build(items))
    for sid in sids:
        assert [(t, m) for _, t, m in memory.lines(sid)] == files_[sid][: given_[sid]]
        check_anchor(memory, sid)
    numbers = [n for e in memory.stored for n in range(e.seq, e.last + 1)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_notice_stays_between_the_same_lines() -> None:
    memory = MemoryStore()
    writer = batcher(memory, range(1, 2))
    items: list[RawLines | PendingNotice] = [
        PendingNotice("status", "started", T0, 1),
        RawLines(1, as_bytes([(T0 + 5, "a")])),
    ]
    items += [PendingNotice("status", "ended", T0, 1, ended=True), PendingNotice(update={"state": "running"})]
    commit = writer.build(items)
    assert [e.event for e in commit.entries] == ["status", "log", "status"]
    # Its time is never before the source's last line, whatever end time the node's clock gives.
    assert commit.entries[2].t_min == T0 + 6
    assert commit.anchors[1].ended
    assert commit.update == {"state": "running"}


def test_an_error_message_of_the_kubelet_is_a_notice() -> None:
    memory = MemoryStore()
    commit = batcher(memory, range(1, 2)).build([RawLines(1, b"unable to retrieve container logs for x\n")])
    assert [e.event for e in commit.entries] == ["status"]
    assert not commit.anchors
