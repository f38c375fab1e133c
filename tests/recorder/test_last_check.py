"""The last check of a container's rotated files happens whatever fails or dies before it."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.hand import Hand, source, until
from support.node import T0, Node, cri, line, pod

from cortex_jupyter.errors import ClusterUnreachable, NotFound, StoreBusy, StoreUnreachable
from cortex_jupyter.model import Batch, parse_rfc3339
from cortex_jupyter.recorder.source.audit import Audit
from cortex_jupyter.recorder.source.context import Context
from cortex_jupyter.recorder.source.source import SourceReader
from cortex_jupyter.recorder.sources import Sources
from cortex_jupyter.recorder.watching.pods import Pods
from cortex_jupyter.recorder.writing.writer import Writer
from cortex_jupyter.store import Anchor, Commit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from cortex_jupyter.store import Store

OLD = [line(i / 100, f"old {i} " + "x" * 200) for i in range(400)]
SKIPPED = [line(4 + i / 100, f"skipped {i}") for i in range(3)]
NEW = [line(10 + i / 100, f"new {i}") for i in range(100)]
ALL = sorted([f"old {i}" for i in range(400)] + [f"skipped {i}" for i in range(3)] + [f"new {i}" for i in range(100)])
ROTATED = {"0.log.20231114-221400": cri(b"".join(OLD + SKIPPED))}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cortex_jupyter.recorder.source.audit._EVERY_S", 0.01)
    monkeypatch.setattr("cortex_jupyter.recorder.source.audit._RETRY_WAITS_S", (0.01, 0.01))


class Life:
    """A recorder of one task from its start until `die`."""

    def __init__(self, node: Node, store: Store, hand: Hand, writer: Writer) -> None:
        lease, info = store.lease(hand.id, "me"), store.info(hand.id)
        assert lease is not None and info is not None
        channel = writer.open(lease, "default:job/train-1", info.last_seq)
        cluster: Any = node
        self.context = Context(cluster, "default", store, lease, channel)
        self._tasks: list[asyncio.Task[None]] = []
        self.sources = Sources(self.context, Pods(), self._spawn)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(coroutine))

    async def end(self) -> None:
        """Read all sources to their ends; raise the first error."""
        await asyncio.wait_for(asyncio.gather(*self._tasks), 120)
        assert not self.sources.is_reading
        await self.context.channel.flush()

    async def die(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def life(node: Node, store: Store, hand: Hand) -> AsyncIterator[Life]:
    with Writer(store) as writer:
        one = Life(node, store, hand, writer)
        await one.sources.load()
        assert not isinstance(node.pod, Exception)
        await one.sources.update(node.pod)
        try:
            yield one
        finally:
            await one.die()


def node_with_skipped_lines(*streams: list[bytes]) -> Node:
    """Return a node on which a log stream skipped lines at a rotation."""
    node = Node(pod("terminated"), b"".join(NEW))
    node.scripts = [[b"".join(part) for part in streams]] if streams else []
    node.files = dict(ROTATED)
    return node


def texts(store: Store, hand: Hand) -> list[str]:
    entries = store.entries(hand.id, 0, 1 << 30)
    return sorted(m.rstrip("x ") for e in entries if e.event == "log" for m in Batch.decode(e.data).texts)


def count_notices(store: Store, hand: Hand, what: bytes) -> int:
    return sum(what in e.data for e in store.entries(hand.id, 0, 1 << 30))


def failing(store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Callable[[int], None]:
    """Let reads of the store's index fail; return a function that sets how many of the next reads fail."""
    index, left = store.index, 0

    def read(*args: Any) -> Any:
        nonlocal left
        if left:
            left -= 1
            raise error
        return index(*args)

    def times(n: int) -> None:
        nonlocal left
        left = n

    monkeypatch.setattr(store, "index", read)
    return times


async def test_a_store_that_fails_for_a_while_does_not_end_the_audit(
    store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, fail = node_with_skipped_lines(OLD, NEW), failing(store, monkeypatch, StoreBusy("its server does not answer"))
    sid = hand.source()
    lease = store.lease(hand.id, "me")
    assert lease is not None
    with Writer(store) as writer:
        channel = writer.open(lease, "default:job/train-1", 0)
        channel.add_source(sid, *store.sources(hand.id)[sid])
        cluster: Any = node
        context = Context(cluster, "default", store, lease, channel)
        reader = SourceReader(context, Pods(), source(), sid)
        await reader.run()
        fail(2)
        looking = asyncio.create_task(Audit(context, source(), sid, reader).run())
        try:
            await until(lambda: texts(store, hand) == ALL or looking.done(), 20)
            assert not looking.done()
        finally:
            looking.cancel()
            await asyncio.wait([looking])


async def test_a_last_check_is_left_to_the_next_recorder(store: Store, hand: Hand) -> None:
    node, dying, never = node_with_skipped_lines(OLD, NEW), asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        if count_notices(store, hand, b"Completed"):
            dying.set()
            await never.wait()

    node.on_file = hang
    async with life(node, store, hand) as first:
        await asyncio.wait_for(dying.wait(), 120)
        await first.die()
    assert texts(store, hand) == sorted(set(ALL) - {f"skipped {i}" for i in range(3)})
    node.on_file = None
    async with life(node, store, hand) as second:
        assert second.sources.is_reading
        await second.end()
    assert texts(store, hand) == ALL and count_notices(store, hand, b"Completed") == 1
    async with life(node, store, hand) as third:
        assert not third.sources.is_reading


async def test_a_last_check_is_repeated_after_a_store_failure(
    store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, fail = node_with_skipped_lines(OLD, NEW), failing(store, monkeypatch, StoreUnreachable("it does not answer"))

    async def ended() -> None:
        if count_notices(store, hand, b"Completed"):
            fail(1)
            node.on_file = None

    node.on_file = ended
    async with life(node, store, hand) as first:
        with pytest.raises(StoreUnreachable):
            await first.end()
    async with life(node, store, hand) as second:
        await second.end()
    assert texts(store, hand) == ALL and count_notices(store, hand, b"Completed") == 1


async def test_the_whole_log_of_a_run_read_by_an_earlier_recorder_is_compared(store: Store, hand: Hand) -> None:
    sid = hand.source()
    hand.lines([(T0 + 250_000_000 * i, sid, f"new {i}") for i in range(100)])
    end = Anchor(T0, 1, T0 + 250_000_000 * 99, ended=True, top=T0, unaudited=True)
    store.commit(hand.lease, Commit(anchors={sid: end}))
    lines = [line(i / 4, f"new {i}") for i in range(100)]
    node = Node(pod("terminated"), b"".join([*lines[:50], line(-5, "older"), *lines[50:]]))
    node.files = {}
    async with life(node, store, hand) as one:
        await one.end()
    assert texts(store, hand) == sorted([f"new {i}" for i in range(100)] + ["older"])


async def test_a_rotation_before_a_takeover_is_checked_though_the_log_grew_little_since(
    store: Store, hand: Hand
) -> None:
    node, never = Node(pod(), b"".join(OLD)), asyncio.Event()
    node.files = {}
    node.scripts = [[b"".join(OLD), never.wait]]
    async with life(node, store, hand) as first:
        await until(lambda: len(texts(store, hand)) == 400)
        await first.die()
    node.pod, node.log, node.files = pod("terminated"), b"".join(OLD[-5:] + NEW), dict(ROTATED)
    async with life(node, store, hand) as second:
        await second.end()
    assert texts(store, hand) == ALL


async def test_a_pod_that_is_deleted_before_its_first_line_and_a_takeover_is_a_gap_from_its_creation(
    store: Store, hand: Hand
) -> None:
    node, never = Node(pod()), asyncio.Event()
    node.scripts = [[never.wait]]
    async with life(node, store, hand) as first:
        await first.context.channel.flush()
        await first.die()
    node.pod = NotFound("no such pod")
    with Writer(store) as writer:
        second = Life(node, store, hand, writer)
        await second.sources.load()
        await second.end()
    (gap,) = store.complete(hand.id).gaps
    assert int(gap["from"]) == parse_rfc3339("2023-11-14T22:00:00Z"), "the gap does not begin when the pod was created"


async def test_a_node_that_does_not_answer_at_once_is_asked_again(store: Store, hand: Hand) -> None:
    node, asked = node_with_skipped_lines(OLD, NEW), 0

    async def fail() -> None:
        nonlocal asked
        if count_notices(store, hand, b"Completed"):
            asked += 1
            if asked < 3:
                raise ClusterUnreachable("the node does not answer")

    node.on_file = fail
    async with life(node, store, hand) as one:
        await one.end()
    assert texts(store, hand) == ALL and not count_notices(store, hand, b"cannot be checked")


@pytest.mark.parametrize("error", [ClusterUnreachable("the node does not answer"), NotFound("no such folder")])
async def test_a_failed_last_check_is_reported(
    store: Store, hand: Hand, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("cortex_jupyter.recorder.source.audit._LIKELY_ROTATED", 1000)
    node = node_with_skipped_lines(OLD, NEW)

    async def fail() -> None:
        raise error

    node.on_file = fail
    async with life(node, store, hand) as one:
        await one.end()
    assert count_notices(store, hand, b"whether lines were skipped") == 1
    async with life(node, store, hand) as again:
        assert not again.sources.is_reading


async def test_a_file_that_is_compressed_during_the_check(store: Store, hand: Hand) -> None:
    node = node_with_skipped_lines(OLD, NEW)
    (name,) = ROTATED
    asked = 0

    async def compress() -> None:
        nonlocal asked
        if count_notices(store, hand, b"Completed"):
            asked += 1
            if asked == 2:  # the file has been listed, but not read yet
                node.files = {f"{name}.gz": gzip.compress(ROTATED[name])}

    node.on_file = compress
    async with life(node, store, hand) as one:
        await one.end()
    assert texts(store, hand) == ALL


async def test_a_pod_in_crash_loop_back_off_has_each_run_once_and_a_gap_for_earlier_runs(
    store: Store, hand: Hand
) -> None:
    crashed = pod("terminated", number=2, exit_code=3)
    (status,) = crashed["status"]["containerStatuses"]
    ended = status["state"]["terminated"] | {"containerID": "containerd://1-2", "startedAt": "2023-11-14T22:13:20Z"}
    status["state"], status["lastState"] = {"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": ended}
    node = Node(crashed, b"".join(NEW))
    node.files = {}
    async with life(node, store, hand) as one:
        await one.end()
    assert texts(store, hand) == sorted(f"new {i}" for i in range(100))
    (gap,) = store.complete(hand.id).gaps
    assert gap["reason"] == "runs 0 to 1 came and went before they could be read"
    assert gap["source"]["run"] == 0
    assert int(gap["from"]) == parse_rfc3339("2023-11-14T22:00:00Z"), "the gap does not begin when the pod was created"
    assert int(gap["to"]) == parse_rfc3339("2023-11-14T22:13:21Z"), (
        "the gap does not end with the second in which run 2 began"
    )
