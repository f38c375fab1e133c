"""A task is read no faster than its namespace's quota allows. That loses no line that the node still has."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY
from support.hand import REF, Hand, source, until
from support.node import Node, cri, line, pod

from cortex_jupyter.model import Batch, parse_rfc3339
from cortex_jupyter.recorder.source import audit as audit_lib
from cortex_jupyter.recorder.source import notices
from cortex_jupyter.recorder.source import source as source_lib
from cortex_jupyter.recorder.source.audit import Audit
from cortex_jupyter.recorder.source.context import Context
from cortex_jupyter.recorder.source.source import SourceReader
from cortex_jupyter.recorder.watching.pods import Pods
from cortex_jupyter.recorder.writing import line_limit as lib
from cortex_jupyter.recorder.writing.line_limit import LineLimit
from cortex_jupyter.recorder.writing.writer import Writer
from cortex_jupyter.store.quotas import Quota, Quotas

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cortex_jupyter.store import Store

LIMITED = Quotas({"default": Quota(max_lines_per_s=1000)})
WHY = "the task is read at no more than 1000 lines a second, the limit of namespace default"
OLD = [line(i / 100, f"old {i} " + "x" * 200) for i in range(400)]
BETWEEN = [line(5 + i / 100, f"between {i}") for i in range(100)]
NEW = [line(10 + i / 100, f"new {i}") for i in range(200)]


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"cortex_jupyter_{name}", labels) or 0.0


class Clock:
    """A clock that moves only while somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(
            lib, "time", SimpleNamespace(monotonic=lambda: self.now, time_ns=lambda: int(self.now * 1e9))
        )
        monkeypatch.setattr(lib, "asyncio", SimpleNamespace(sleep=self.sleep, Lock=asyncio.Lock))

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


async def test_all_sources_of_a_task_together_keep_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, reports = Clock(monkeypatch), list[float]()
    limit = LineLimit("ml", lambda: reports.append(clock.now))
    passed: list[tuple[float, int]] = []

    async def read(number: int) -> None:
        for _ in range(40):
            await limit.pass_lines(50)
            passed.append((clock.now, number))

    await read(0)
    assert clock.now == 1000, "there is no limit yet"
    passed.clear()
    limit.set(Quotas({"*": Quota(max_lines_per_s=100)}))
    before = counted("line_limit_wait_seconds_total", namespace="*")
    await asyncio.gather(*(read(number) for number in range(3)))
    # 6 000 lines: ten seconds' worth at once, the rest at 100 a second. The last ones pass before they are paid.
    assert 1049 <= clock.now <= 1050 and len(passed) == 120
    assert all(50 * sum(at <= now for at, _ in passed) <= 100 * (now - 990) + 50 for now, _ in passed)
    assert {number for _, number in passed[60:66]} == {0, 1, 2}, "sources do not take turns"
    assert reports == [1000] and counted("line_limit_wait_seconds_total", namespace="*") - before == clock.now - 1000
    assert limit.has_delayed(int(clock.now * 1e9)) and not limit.has_delayed(int(clock.now * 1e9) + 1)
    # Lines of rotated files do not wait, and count.
    limit.count_lines(1000)
    passed.clear()
    await read(4)
    assert passed[0][0] >= 1059
    limit.set(Quotas())
    done = clock.now
    await read(5)
    assert clock.now == done


async def test_lines_of_rotated_files_delay_a_task_by_no_more_than_a_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, limit = Clock(monkeypatch), LineLimit("ml")
    limit.set(Quotas({"*": Quota(max_lines_per_s=1000)}))
    for _ in range(2):
        limit.count_lines(250_000)
    await limit.pass_lines(1)
    assert clock.now == 1000 + lib.BURST_S


async def record(
    store: Store,
    hand: Hand,
    node: Node,
    quotas: Quotas = LIMITED,
    meanwhile: Callable[[Audit], Awaitable[None]] | None = None,
) -> list[str]:
    """Record the only container of a pod to its end, with its audit; return its lines."""
    sid = hand.source()
    lease = store.lease(hand.id, "me")
    assert lease is not None
    cluster: Any = node
    with Writer(store) as writer:
        channel = writer.open(lease, REF.key, 0, namespace="default")
        channel.limit.set(quotas)
        known, anchor = store.sources(hand.id)[sid]
        channel.add_source(sid, known, anchor)
        context = Context(cluster, "default", store, lease, channel)
        reader = SourceReader(context, Pods(), source(), sid)
        audit = Audit(context, source(), sid, reader)
        side = asyncio.create_task(meanwhile(audit)) if meanwhile else None
        await reader.run()
        if side:
            side.cancel()
            await asyncio.wait([side])
        await audit.check_rest()
        await channel.flush()
    entries = store.entries(hand.id, 0, 1 << 30)
    return [text.rstrip("x ") for e in entries if e.event == "log" for text in Batch.decode(e.data).texts]


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lib, "BURST_S", 0.0)
    monkeypatch.setattr(source_lib, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(source_lib, "_STATE_LAG_S", 0.3)


@pytest.mark.usefixtures("fast")
async def test_a_task_over_its_limit_is_read_later_and_loses_nothing(store: Store, hand: Hand) -> None:
    node = Node(pod(), b"".join(OLD))

    async def ends() -> None:
        node.pod = pod("terminated")

    node.scripts = [[b"".join(OLD[i : i + 50]) for i in range(0, 400, 50)] + [ends]]  # type: ignore[list-item]
    assert await record(store, hand, node) == [f"old {i}" for i in range(400)]
    assert not store.complete(hand.id).gaps
    notices = [e.data for e in store.entries(hand.id, 0, 1 << 30) if b'"notice":"line_limit"' in e.data]
    assert len(notices) == 1 and f"From now on lines may come late: {WHY}".encode() in notices[0]
    assert b"store set --namespace default max-lines-per-s=" in notices[0]


@pytest.mark.usefixtures("fast")
async def test_a_gap_names_the_limit_if_the_log_was_rotated_away_meanwhile(store: Store, hand: Hand) -> None:
    for quotas, loss in ((LIMITED, "line_limit"), (Quotas(), "rotated")):
        one = Hand(store, REF, loss)
        node = Node(pod(), b"".join(OLD))

        async def ends(node: Node = node) -> None:
            node.pod, node.log = pod("terminated"), b"".join(NEW)

        node.scripts = [[b"".join(OLD[:200]), b"".join(OLD[200:])], [b"".join(NEW), ends]]
        before = counted("gaps_total", reason=loss)
        await record(store, one, node, quotas)
        (gap,) = store.complete(one.id).gaps
        assert (WHY in gap["reason"]) == ("max-lines-per-s" in gap["hint"]) == (loss == "line_limit")
        assert "nodes/proxy" in gap["hint"] and counted("gaps_total", reason=loss) == before + 1


def test_a_gap_after_the_limit_is_removed_does_not_name_it() -> None:
    limit = LineLimit("default")
    limit.set(LIMITED)
    limit._delayed_until = 20
    named = notices.gap(source(), 1, 10, 30, "rotated away", loss="rotated", limit=limit)
    limit.set(Quotas())
    plain = notices.gap(source(), 1, 10, 30, "rotated away", loss="rotated", limit=limit)
    assert (named.loss, plain.loss) == ("line_limit", "rotated")
    assert WHY in named.message and "None" not in plain.message and "limit" not in plain.message


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("files", ["forbidden", "removed", "there"])
async def test_a_file_that_a_slow_follow_has_skipped_is_a_gap(
    store: Store, hand: Hand, files: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of its file, a kubelet's follow goes on with the newest one. No file between is sent, without a sign."""
    monkeypatch.setattr(audit_lib, "_HEAD_S", 0.01)
    node = Node(pod(), b"".join(BETWEEN))
    if files != "forbidden":
        node.files = {"0.log.20231114-221400": cri(b"".join(BETWEEN))}
    audits: list[Audit] = []

    async def meanwhile(audit: Audit) -> None:
        audits.append(audit)
        audit._channel.limit._delayed_until = time.time_ns() + 10**12
        await audit.run()

    async def rotated() -> None:
        await until(lambda: any(text == "between 0" for _, text in audits[0]._heads))
        node.log = b"".join(NEW)
        if files == "removed":
            node.files = {}

    async def ends() -> None:
        await until(lambda: not any(text == "between 0" for _, text in audits[0]._heads))
        node.pod = pod("terminated")

    node.scripts = [[b"".join(OLD), rotated, b"".join(NEW), ends]]
    lines = await record(store, hand, node, meanwhile=meanwhile)
    whole = [f"old {i}" for i in range(400)] + [f"new {i}" for i in range(200)]
    gaps = store.complete(hand.id).gaps
    if files == "there":
        assert sorted(lines) == sorted(whole + [f"between {i}" for i in range(100)]) and not gaps
        return
    assert lines == whole
    (gap,) = gaps
    assert WHY in gap["reason"]
    first, last = BETWEEN[0].split()[0], NEW[0].split()[0]
    assert (gap["from"], gap["to"]) == (str(parse_rfc3339(first.decode())), str(parse_rfc3339(last.decode())))
