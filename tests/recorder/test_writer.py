"""The writer thread commits everything in order, and no task waits forever."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from prometheus_client import REGISTRY
from support.hand import CLUSTER, Hand, source, until
from support.node import T0, line

from cortex_jupyter.errors import LeaseLost, StoreError
from cortex_jupyter.model import Batch, TaskRef
from cortex_jupyter.recorder.task import TaskRecorder
from cortex_jupyter.recorder.writing.batch import Batcher, PendingNotice, RawLines, SourceProgress
from cortex_jupyter.recorder.writing.writer import Writer
from cortex_jupyter.store import Anchor, Commit
from cortex_jupyter.telemetry import recorder_metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortex_jupyter.recorder.writing.writer import Channel
    from cortex_jupyter.store import Store


@pytest.fixture
async def writer(store: Store) -> AsyncIterator[Writer]:
    with Writer(store) as one:
        yield one


def open_channel(writer: Writer, hand: Hand) -> Channel:
    channel = writer.open(hand.lease, "default:job/train-1", 0)
    channel.add_source(hand.source(), source(), Anchor())
    return channel


def waiting() -> float:
    """Return the value of `cortex_jupyter_queue_bytes`."""
    return next(iter(recorder_metrics.QUEUE.collect())).samples[0].value


def errors(code: str) -> float:
    """Return the value of `cortex_jupyter_errors_total` for a code, 0 if there was no such error."""
    return REGISTRY.get_sample_value("cortex_jupyter_errors_total", {"code": code}) or 0.0


def texts(store: Store, recording: int) -> list[str]:
    entries = store.entries(recording, 0, 1 << 30)
    return [m for e in entries if e.event == "log" for m in Batch.decode(e.data).texts]


async def test_lines_and_notices_are_committed_in_order(store: Store, hand: Hand, writer: Writer) -> None:
    channel = open_channel(writer, hand)
    await channel.put_lines(1, line(1, "a") + line(2, "b")[:-1])
    channel.put_notice(PendingNotice("status", "said", update={"state": "running"}))
    await channel.put_lines(1, b"")
    await channel.put_lines(1, line(3, "c"))
    await channel.flush()
    assert [e.event for e in store.entries(hand.id, 0, 1 << 20)] == ["log", "status", "log"]
    assert texts(store, hand.id) == ["a", "b", "c"]
    assert store.sources(hand.id)[1][1].last == channel.anchor(1).last
    await channel.flush()  # the queue is empty


async def test_nothing_follows_the_end(store: Store, hand: Hand, writer: Writer) -> None:
    """A reader stops there. An event of the cluster may arrive while the end is being committed."""
    channel = open_channel(writer, hand)
    channel.put_notice(PendingNotice("end", "Job complete exit 0", update={"done": 1}))
    channel.put_notice(PendingNotice("status", "a late event"))
    await channel.flush()
    channel.put_notice(PendingNotice("status", "a later event"))
    await channel.flush()
    assert [entry.event for entry in store.entries(hand.id, 0, 1 << 30)] == ["end"]


async def test_a_line_of_a_quiet_log_is_committed_without_a_flush(store: Store, hand: Hand, writer: Writer) -> None:
    channel = open_channel(writer, hand)
    await channel.put_lines(1, line(1, "a"))
    await until(lambda: texts(store, hand.id) == ["a"])


async def test_a_backlog_delays_neither_other_tasks_nor_a_flush(store: Store, hand: Hand, writer: Writer) -> None:
    busy = open_channel(writer, hand)
    quiet = open_channel(writer, Hand(store, TaskRef("default", "job", "other")))
    block = line(1, "x" * 1000) * 100

    async def flood() -> None:
        while True:
            await busy.put_lines(1, block)

    flooding = asyncio.create_task(flood())
    try:
        await until(lambda: busy.size > 500_000)
        await quiet.put_lines(1, line(1, "a"))
        await asyncio.wait_for(quiet.flush(), 120)
        # A flush does not wait for items that are queued after it.
        await asyncio.wait_for(busy.flush(), 120)
        assert not flooding.done()
    finally:
        flooding.cancel()
        await asyncio.wait([flooding])


async def test_channels_are_written_in_the_order_of_due_times(store: Store, hand: Hand) -> None:
    writer = Writer(store)  # its thread is not started; the test takes its steps
    busy, quiet = open_channel(writer, hand), open_channel(writer, Hand(store, TaskRef("default", "job", "other")))
    block = line(1, "x" * 70_000)
    for _ in range(3):
        await busy.put_lines(1, block)
    flush = asyncio.create_task(busy.flush())
    await asyncio.sleep(0)
    await quiet.put_lines(1, line(1, "a"))
    for _ in range(3):
        await busy.put_lines(1, block)
    order, flushed_after = [], 0
    for step in range(1, 8):
        job = writer._next()
        assert job is not None
        order.append(job[0])
        for barrier in job[2]:
            barrier()
            flushed_after = step
    assert quiet in order[:3]
    # The flush waits for its channel's three items and perhaps one of the other channel, not for items queued later.
    assert 3 <= flushed_after <= 4
    await asyncio.wait_for(flush, 120)


async def test_waiting_sources_get_the_lost_lease_as_an_error(store: Store, hand: Hand, writer: Writer) -> None:
    channel = open_channel(writer, hand)
    await channel.put_lines(1, line(1, "a"))
    await channel.flush()
    store.leave("me")

    async def flood() -> None:
        while True:
            await channel.put_lines(1, line(2, "x" * 1000) * 100)

    flooding = [asyncio.create_task(flood()) for _ in range(3)]
    done, waiting = await asyncio.wait(flooding, timeout=20)
    assert not waiting and all(isinstance(task.exception(), LeaseLost) for task in done)
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(channel.flush(), 120)
    with pytest.raises(LeaseLost):
        channel.put_notice(PendingNotice("status", "x"))
    assert texts(store, hand.id) == ["a"]


async def test_an_error_of_one_task_does_not_affect_others(
    store: Store, hand: Hand, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = open_channel(writer, hand), open_channel(writer, Hand(store, TaskRef("default", "job", "other")))
    commit = store.commit

    def sometimes(lease: object, what: Commit) -> None:
        if lease is hand.lease:
            raise StoreError("database or disk is full")
        commit(lease, what)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "commit", sometimes)
    before = errors("StoreError")
    await broken.put_lines(1, line(1, "a"))
    with pytest.raises(StoreError, match="full"):
        await asyncio.wait_for(broken.flush(), 120)
    assert errors("StoreError") == before + 1
    await good.put_lines(1, line(1, "b"))
    await asyncio.wait_for(good.flush(), 120)
    assert texts(store, store.find(TaskRef("default", "job", "other"), CLUSTER).id) == ["b"]  # type: ignore[union-attr]


async def test_items_left_by_an_error_do_not_count_as_waiting(
    store: Store, hand: Hand, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, before, handed = open_channel(writer, hand), waiting(), threading.Event()

    def fail(*_: object) -> None:
        assert handed.wait(120)
        raise StoreError("the file is damaged")

    monkeypatch.setattr(store, "commit", fail)
    for i in range(6):
        await channel.put_lines(1, line(i, "x" * 50_000))
    assert waiting() - before > 300_000
    handed.set()
    with pytest.raises(StoreError, match="damaged"):
        await asyncio.wait_for(channel.flush(), 120)
    assert waiting() == before


async def test_waiting_items_are_written_at_the_end(store: Store, hand: Hand) -> None:
    with Writer(store) as writer:
        channel = open_channel(writer, hand)
        for i in range(50):
            await channel.put_lines(1, line(i, str(i)))
    assert texts(store, hand.id) == [str(i) for i in range(50)]


async def test_items_of_a_task_without_readers_wait_until_it_has_one(
    store: Store, hand: Hand, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_jupyter.recorder.writing.writer.UNREAD_S", 3600.0)
    channel = open_channel(writer, hand)
    channel.set_has_readers(has_readers=False)
    await channel.put_lines(1, line(1, "a"))
    await until(lambda: texts(store, hand.id) == ["a"])  # the first item of a recording is committed at once
    await channel.put_lines(1, line(2, "b"))
    await channel.flush()
    assert texts(store, hand.id) == ["a", "b"]
    await channel.put_lines(1, line(3, "c"))
    await channel.put_lines(1, line(4, "d"))
    channel.set_has_readers(has_readers=True)
    await until(lambda: texts(store, hand.id) == ["a", "b", "c", "d"])
    assert [e.n for e in store.entries(hand.id, 0, 1 << 20)] == [1, 1, 2]
    channel.set_has_readers(has_readers=False)
    await channel.put_lines(1, line(5, "x" * 40_000))
    await channel.put_lines(1, line(6, "y" * 40_000))  # a full batch is committed even without a reader
    await until(lambda: len(texts(store, hand.id)) == 6)


def test_a_repeated_error_message_of_the_kubelet_is_no_notice() -> None:
    batcher = Batcher("t", 1)
    batcher.progress[1] = SourceProgress(source(), Anchor())
    texts = [b"rpc error: code = Unavailable\n", b"too many open files\n"]
    commits = [batcher.build([RawLines(1, texts[n % 2])]) for n in range(10)]
    assert [len(commit.entries) for commit in commits] == [1, 1] + [0] * 8
    many = [batcher.build([RawLines(1, b"failed to stat /var/log/%d\n" % n)]) for n in range(100)]
    assert sum(len(commit.entries) for commit in many) < 20


def ended_after(arrivals: list[tuple[float, float]]) -> dict[str, Any]:
    """Return the notice of a run's end after lines with these times and times of arrival (seconds)."""
    batcher = Batcher("default:job/train-1", 1)
    batcher.progress[1] = SourceProgress(source(), Anchor())
    for written, arrived in arrivals:
        batcher.build([RawLines(1, line(written, "x"), round(arrived * 1e9))])
    [entry] = batcher.build([PendingNotice("status", "ended", sid=1, ended=True, fields={"notice": "ended"})]).entries
    doc: dict[str, Any] = orjson.loads(entry.data)
    return doc


def test_the_end_of_a_run_names_the_clock_of_its_node_if_lines_were_read_as_they_came() -> None:
    base = T0 / 1e9
    behind = [(second, base + second + 3 + late) for second, late in ((1, 0.4), (2, 0.01), (3, 0.02), (4, 0.9))]
    assert ended_after(behind)["clock_ms"] == -3010
    assert ended_after([(second, base + second - 7.5) for second in (1, 2, 3)])["clock_ms"] == 7500


def test_lines_that_waited_on_the_node_do_not_tell_its_clock() -> None:
    base = T0 / 1e9
    assert "clock_ms" not in ended_after([(second, base + 100 + second / 1000) for second in range(1, 60)])
    assert "clock_ms" not in ended_after([(1, base + 1)])


async def test_a_channel_tells_for_how_long_no_line_came(store: Store, hand: Hand, writer: Writer) -> None:
    channel = open_channel(writer, hand)
    assert channel.silence(time.time_ns()) == (0.0, "")
    before = time.time_ns()
    for second in range(0, 400, 2):
        await channel.put_lines(1, line(second, f"step {second}"))
        await channel.flush()
    after = time.time_ns()
    seconds, rhythm = channel.silence(before + 1000 * 10**9)
    assert 1000 - (after - before) / 1e9 <= seconds <= 1000 and rhythm == "usually every 2 s (p99 2 s)"
    assert channel.silence(after + 5 * 10**9)[1] == ""


def test_a_silence_that_stands_out_is_a_notice_and_so_is_its_end() -> None:
    silences = iter(
        [(3.0, ""), (90.0, "usually every 2 s (p99 4 s)"), (93.0, "usually every 2 s (p99 4 s)"), (0.2, ""), (2.0, "")]
    )
    notices: list[tuple[str, object]] = []
    recorder: Any = SimpleNamespace(
        _channel=SimpleNamespace(silence=lambda now: next(silences)),
        _sources=SimpleNamespace(is_reading=True),
        _caught_up=True,
        _silent_s=0.0,
        ends=True,
        put_status=lambda message, notice, level="": notices.append((notice, message)),
    )
    for _ in range(5):
        TaskRecorder._note_silence(recorder)
    assert notices == [("hang", "No line for 90 s, usually every 2 s (p99 4 s)"), ("hang_over", "Lines come again")]
