"""The audit finds lines that a log stream skipped at a rotation, and records them once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.hand import Hand, source, until
from support.node import Node, cri, line, pod

from cortex_jupyter.model import Batch
from cortex_jupyter.recorder.source.audit import Audit
from cortex_jupyter.recorder.source.context import Context
from cortex_jupyter.recorder.source.source import SourceReader
from cortex_jupyter.recorder.text.lines import LONGEST, PART_BYTES
from cortex_jupyter.recorder.watching.pods import Pods
from cortex_jupyter.recorder.writing.writer import Writer
from cortex_jupyter.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    from cortex_jupyter.store import Commit, Lease

OLD = [line(i / 100, f"old {i} " + "x" * 200) for i in range(400)]
SKIPPED = [line(4 + i / 100, f"skipped {i}") for i in range(3)]
NEW = [line(10 + i / 100, f"new {i}") for i in range(100)]


def texts(store: SqliteStore, hand: Hand) -> list[str]:
    entries = store.entries(hand.id, 0, 1 << 30)
    return [m.rstrip("x ") for e in entries if e.event == "log" for m in Batch.decode(e.data).texts]


async def record_and_audit(store: SqliteStore, hand: Hand, node: Node, *more_old_lines: bytes) -> list[str]:
    """Record a stream that moved from the old file to the new one, then audit the rotated files.

    The same `Audit` runs twice, then a new one; lines must be found only once.
    """
    node.scripts = [[b"".join([*OLD, *more_old_lines]), b"".join(NEW)]]
    node.log = b"".join(NEW)
    sid = hand.source()
    lease = store.lease(hand.id, "me")
    assert lease is not None
    cluster: Any = node
    with Writer(store) as writer:
        channel = writer.open(lease, "default:job/train-1", 0)
        recorded_source, anchor = store.sources(hand.id)[sid]
        channel.add_source(sid, recorded_source, anchor)
        context = Context(cluster, "default", store, lease, channel)
        reader = SourceReader(context, Pods(), source(), sid)
        audit = Audit(context, source(), sid, reader)
        await reader.run()
        await audit.check_rest()
        await audit.check_rest()
        again = Audit(context, source(), sid, reader)
        await again.check_rest()
        await channel.flush()
    return texts(store, hand)


async def test_skipped_lines_are_recorded_once(store: SqliteStore, hand: Hand) -> None:
    node = Node(pod("terminated"))
    node.files = {"0.log.20231114-221400": cri(b"".join(OLD + SKIPPED))}
    found = await record_and_audit(store, hand, node)
    assert found == [f"old {i}" for i in range(400)] + [f"new {i}" for i in range(100)] + [
        f"skipped {i}" for i in range(3)
    ]
    (part,) = [s for s, _ in store.sources(hand.id).values() if s.part]
    assert part.public == source().public


async def test_a_skipped_file_is_recorded_once(store: SqliteStore, hand: Hand) -> None:
    node = Node(pod("terminated"))
    # More than the tail of a file that the audit reads first.
    between = [line(5 + i / 1000, f"between {i} " + "x" * 200) for i in range(900)]
    node.files = {"0.log.20231114-221400": cri(b"".join(OLD)), "0.log.20231114-221410": cri(b"".join(between))}
    found = await record_and_audit(store, hand, node)
    assert sorted(found) == sorted(
        [f"old {i}" for i in range(400)] + [f"new {i}" for i in range(100)] + [f"between {i}" for i in range(900)]
    )


async def test_nothing_is_recorded_twice_if_nothing_was_skipped(store: SqliteStore, hand: Hand) -> None:
    node = Node(pod("terminated"))
    earlier = [line(-100 + i, f"before recording began {i}") for i in range(5)]
    node.files = {"0.log.20231114-221200": cri(b"".join(earlier)), "0.log.20231114-221400": cri(b"".join(OLD))}
    found = await record_and_audit(store, hand, node)
    assert found == [f"old {i}" for i in range(400)] + [f"new {i}" for i in range(100)]


async def test_a_missing_right_to_read_rotated_files_is_reported(
    store: SqliteStore, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_jupyter.recorder.source.audit._LIKELY_ROTATED", 1000)
    await record_and_audit(store, hand, Node(pod("terminated")))
    notices = [e.data for e in store.entries(hand.id, 0, 1 << 30) if b"cannot be checked" in e.data]
    assert notices and all(b"nodes/proxy" in data for data in notices)


class SlowDisk(SqliteStore):
    """A store whose commits wait until `free` is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.free = threading.Event()
        self.free.set()

    def commit(self, lease: Lease, commit: Commit) -> None:
        assert self.free.wait(120)
        super().commit(lease, commit)


async def test_lines_not_yet_committed_are_not_taken_for_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SlowDisk(tmp_path / "slow.sqlite")
    hand, node = Hand(store), Node(pod("terminated"))
    node.scripts, node.log = [[b"".join(OLD)]], b"".join(OLD)
    node.files = {"0.log.20231114-221400": cri(b"".join(OLD + SKIPPED))}
    sid = hand.source()
    lease = store.lease(hand.id, "me")
    assert lease is not None
    cluster: Any = node
    with Writer(store) as writer:
        channel = writer.open(lease, "default:job/train-1", 0)
        channel.add_source(sid, *store.sources(hand.id)[sid])
        context = Context(cluster, "default", store, lease, channel)
        reader = SourceReader(context, Pods(), source(), sid)
        await reader.run()

        async def late() -> None:
            """While the audit reads the file, the log stream delivers the remaining lines; the disk delays their commit."""
            node.on_file = None
            store.free.clear()
            await channel.put_lines(sid, b"".join(SKIPPED + NEW))
            await until(lambda: channel.anchor(sid).last > 1_700_000_010_000_000_000)

        async def flush() -> None:
            store.free.set()
            await flushed()

        flushed = channel.flush
        await channel.flush()
        node.on_file = late
        monkeypatch.setattr(channel, "flush", flush)
        await Audit(context, source(), sid, reader).check_rotated()
        await flush()
    found = texts(store, hand)
    store.close()
    assert found == [f"old {i}" for i in range(400)] + [f"skipped {i}" for i in range(3)] + [
        f"new {i}" for i in range(100)
    ]


def line_in_parts(second: float, size: int) -> bytes:
    """Return a long line as the log file on the node holds it: in parts of 16 KiB."""
    cut = [16384] * (size // 16384)
    records = [line(second + i / 1000, "x" * n).replace(b" ", b" stdout P ", 1) for i, n in enumerate(cut)]
    return b"".join(records) + line(second + 0.9, chr(97 + size % 16) * (size % 16384)).replace(b" ", b" stdout F ", 1)


def whole_line(second: float, size: int) -> bytes:
    """Return the same line as the API sends it: in one piece."""
    return line(second, "x" * (size // 16384 * 16384) + chr(97 + size % 16) * (size % 16384))


async def test_a_check_that_begins_within_a_long_line_adds_no_line(store: SqliteStore, hand: Hand) -> None:
    node = Node(pod("terminated"))
    size = 200_001
    node.files = {"0.log.20231114-221400": cri(b"".join(OLD)) + line_in_parts(5, size) + cri(b"".join(SKIPPED))}
    OLD.append(whole_line(5, size))
    try:
        found = await record_and_audit(store, hand, node)
    finally:
        OLD.pop()
    assert len(found) == 400 + 1 + 100 + 3 and found[-3:] == [f"skipped {i}" for i in range(3)]


async def test_a_long_line_split_over_two_files_is_not_recorded_again(store: SqliteStore, hand: Hand) -> None:
    node = Node(pod("terminated"))
    size = 200_001
    records = line_in_parts(5, size).splitlines(keepends=True)
    node.files = {
        "0.log.20231114-221400": cri(b"".join(OLD)) + b"".join(records[:5]),
        "0.log.20231114-221410": b"".join(records[5:]),
        "0.log.20231114-221420": line_in_parts(6, size + 5),
    }
    OLD.extend([whole_line(5, size), whole_line(6, size + 5)])
    try:
        found = await record_and_audit(store, hand, node)
    finally:
        del OLD[400:]
    assert len(found) == 402 + 100


def long_line() -> tuple[bytes, list[bytes]]:
    """Return a line of the log, and its parts in the log file."""
    parts = [cri(line(4 + i / 100, "y" * 17_000)).replace(b" F ", b" P ") for i in range(6)]
    return line(4, "y" * 102_000 + "end"), [*parts, cri(line(4.06, "end"))]


async def test_the_last_part_of_a_long_line_is_not_taken_for_a_line(store: SqliteStore, hand: Hand) -> None:
    node, (whole, parts) = Node(pod("terminated")), long_line()
    node.files = {"0.log.20231114-221400": cri(b"".join(OLD)) + b"".join(parts)}
    found = await record_and_audit(store, hand, node, whole)
    assert found == [f"old {i}" for i in range(400)] + ["y" * 102_000 + "end"] + [f"new {i}" for i in range(100)]


async def test_a_line_split_by_a_rotation_is_one_line(store: SqliteStore, hand: Hand) -> None:
    node, (whole, parts) = Node(pod("terminated")), long_line()
    node.files = {
        "0.log.20231114-221400": cri(b"".join(OLD)) + b"".join(parts[:3]),
        "0.log.20231114-221410": b"".join(parts[3:]),
    }
    found = await record_and_audit(store, hand, node, whole)
    assert found == [f"old {i}" for i in range(400)] + ["y" * 102_000 + "end"] + [f"new {i}" for i in range(100)]


async def test_a_line_interrupted_by_stderr_is_recorded_once(store: SqliteStore, hand: Hand) -> None:
    """The kubelet joins the parts in a file even if they belong to different streams."""
    node = Node(pod("terminated"))
    out, err = "o" * PART_BYTES, "e" * 5000
    node.files = {
        "0.log.20231114-221400": cri(b"".join(OLD))
        + cri(line(5, out)).replace(b" F ", b" P ")
        + cri(line(5.01, err)).replace(b"stdout", b"stderr")
        + cri(line(5.02, "rest of stdout") + line(5.03, "x" * 9000) + b"".join(SKIPPED))
    }
    served = [line(5, out + err), line(5.02, "rest of stdout"), line(5.03, "x" * 9000)]
    found = await record_and_audit(store, hand, node, *served)
    assert sorted(found[400:]) == sorted(
        [out + err, "rest of stdout", ""] + [f"new {i}" for i in range(100)] + [f"skipped {i}" for i in range(3)]
    )


def huge(second: float, size: int) -> bytes:
    """Return a line that is too long for one record, as the log file on the node holds it."""
    texts = [f"{n:08} ".ljust(PART_BYTES, ".") for n in range(size // PART_BYTES)] + ["its end"]
    return b"".join(
        cri(line(second + n / 100_000, text)).replace(b" F ", b" F " if text == texts[-1] else b" P ")
        for n, text in enumerate(texts)
    )


@pytest.mark.parametrize("cut", [None, 3, 300])
async def test_a_line_that_is_recorded_in_parts_is_recorded_once(
    store: SqliteStore, hand: Hand, cut: int | None
) -> None:
    """The audit splits the line at the same places as the recorder, even if a rotation splits it too.

    `cut` is the number of its parts in the first file.
    """
    node = Node(pod("terminated"))
    records = huge(5, 2 * LONGEST + 5 * PART_BYTES).splitlines(keepends=True)
    whole = b"".join(record.split(b" ", 3)[3].removesuffix(b"\n") for record in records).decode()
    node.files = {"0.log.20231114-221400": cri(b"".join(OLD)) + b"".join(records[:cut])}
    if cut is not None:
        node.files["0.log.20231114-221410"] = b"".join(records[cut:]) + cri(b"".join(SKIPPED))
    found = await record_and_audit(store, hand, node, line(5, whole))
    assert "".join(found[400:403]) == whole
    assert sorted(found[403:]) == sorted(
        [f"new {i}" for i in range(100)] + [f"skipped {i}" for i in range(3 if cut is not None else 0)]
    )
