"""Quotas of namespaces: who sets them, and that one namespace cannot evict the recordings of another."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from prometheus_client import REGISTRY
from support.hand import CLUSTER, Hand

from cortex_jupyter.cli.command_line import run
from cortex_jupyter.cli.doctor import store as doctor_store
from cortex_jupyter.model import TaskRef
from cortex_jupyter.recorder.task import RunningTask
from cortex_jupyter.recorder.upkeep import Upkeep
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.deletion import Hold
from cortex_jupyter.store.quotas import Quota, Quotas, read_quotas
from cortex_jupyter.store.retention import enforce_retention
from cortex_jupyter.store.settings import Settings
from cortex_jupyter.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from cortex_jupyter.store import Store


KB = 1000


def record(store: Store, task: str, kilobytes: int = 100, *, done: bool = True) -> Hand:
    """Record a task (`namespace/name`) with this many kilobytes of incompressible text."""
    namespace, _, name = task.partition("/")
    hand = Hand(store, TaskRef(namespace, "job", name))
    for i in range(kilobytes // 10):
        hand.lines([(i, 1, os.urandom(10 * KB * 3 // 4).hex()[: 10 * KB])])
    if done:
        hand.end()
    return hand


def tasks(store: Store) -> set[str]:
    return {f"{info.ref.namespace}/{info.ref.name}" for info in store.recordings()}


def used(store: Store) -> dict[str, int]:
    return {row.namespace: sum(r.bytes for r in store.usage() if r.namespace == row.namespace) for row in store.usage()}


def command(store: Store, *words: str) -> int:
    return run(["store", words[0], "--store", store.url, *words[1:]])


def test_an_administrator_sets_and_lists_quotas(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(store, "set", "--namespace", "ml", "max-bytes=20GiB", "max-age=30d", "max-lines-per-s=5000") == 0
    assert command(store, "set", "--namespace", "*", "max-bytes=2GB") == 0
    assert read_quotas(store) == Quotas({"ml": Quota(20 << 30, 30 * 86400.0, 5000), "*": Quota(2_000_000_000)})
    out = capsys.readouterr().out
    assert "namespace ml    max-bytes=21474836480 max-age=30d max-lines-per-s=5000\n" in out
    assert "store set --namespace *`" in out, "it does not say who has changed them"
    assert command(store, "show", "-o", "json") == 0
    assert orjson.loads(capsys.readouterr().out)["namespaces"] == {
        "*": {"max-bytes": "2000000000"},
        "ml": {"max-bytes": "21474836480", "max-age": "30d", "max-lines-per-s": "5000"},
    }
    assert command(store, "set", "--namespace", "web", "max-age=1h") == 0
    assert "namespace web   max-age=1h\n" in capsys.readouterr().out
    command(store, "set", "--namespace", "web", "max-age=")
    # One part changes, the others stay; a quota without parts is none.
    assert command(store, "set", "--namespace", "ml", "max-bytes=", "max-age=7d") == 0
    assert command(store, "set", "--namespace", "*", "max-bytes=") == 0
    assert read_quotas(store) == Quotas({"ml": Quota(None, 7 * 86400.0, 5000)})


@pytest.mark.parametrize(
    "words",
    [
        ("ml", "archive=s3://x/y"),
        ("ml", "max-lines-per-s=0"),
        ("ml", "max-lines-per-s=many"),
        ("ml", "max-bytes=much"),
        ("a/b", "max-age=3d"),
    ],
)
def test_a_wrong_quota_is_refused(store: Store, words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(store, "set", "--namespace", words[0], "max-age=1d", words[1]) == 2
    assert capsys.readouterr().err and not read_quotas(store)


def test_locked_quotas_are_changed_by_nobody(store: Store) -> None:
    command(store, "set", "--namespace", "ml", "max-age=7d")
    assert command(store, "lock") == 0 and command(store, "set", "--namespace", "ml", "max-age=1d") == 2
    assert read_quotas(store).of("ml").max_age_s == 7 * 86400


def test_a_recorder_restores_quotas_that_the_store_has_lost(store: Any) -> None:
    command(store, "set", "--namespace", "ml", "max-age=7d")
    known = Settings(store)
    known.look()
    if isinstance(store, SqliteStore):
        with store._file.writing() as db:
            db.execute("DELETE FROM setting")
    else:
        store._link.ask("FLUSHALL")
    assert not read_quotas(store)
    known.look()
    assert read_quotas(store) == known.quotas == Quotas({"ml": Quota(None, 7 * 86400.0)})


def test_usage_counts_each_recording_for_its_namespace(store: Store) -> None:
    a, b, running = record(store, "ml/a"), record(store, "ml/b"), record(store, "web/a", done=False)
    sizes = {row.id: row for row in store.usage()}
    assert {id_: (row.namespace, row.ended is not None) for id_, row in sizes.items()} == {
        a.id: ("ml", True),
        b.id: ("ml", True),
        running.id: ("web", False),
    }
    assert sizes[a.id].ended == pytest.approx(store.oldest_removable()[1])  # type: ignore[index]
    assert all(row.bytes == store.recording_bytes(id_) > 40 * KB for id_, row in sizes.items())
    running.lines([(1, 1, os.urandom(50 * KB).hex())])
    assert {row.id: row.bytes for row in store.usage()}[running.id] == store.recording_bytes(running.id)
    assert store.forget(a.id)
    assert {row.id for row in store.usage()} == {b.id, running.id}


def test_the_oldest_recording_of_some_namespaces(store: Store) -> None:
    first, second, third = (record(store, name, 10).id for name in ("ml/a", "web/a", "ml/b"))
    store.want(first, 60)
    assert [store.oldest_removable(names)[0] for names in (["ml"], ["web"], ["web", "ml"])] == [third, second, second]  # type: ignore[index]
    assert store.oldest_removable(["none"]) is store.oldest_removable([]) is None


def test_a_flood_of_one_namespace_evicts_only_its_own_recordings(store: Store) -> None:
    """Without a quota, the recordings of the team that recorded first would all leave."""
    calm = {f"calm/{i}" for i in range(3)}
    for name in sorted(calm):
        record(store, name)
    size = used(store)["calm"] // 3
    store.set_budget(Budget(max_bytes=store.used_bytes() * 3))
    command(store, "set", "--namespace", "*", f"max-bytes={4 * size + 20 * KB}")
    for i in range(12):
        record(store, f"flood/{i}")
        result = enforce_retention(store)
        assert tasks(store) == calm | {f"flood/{n}" for n in range(max(0, i - 3), i + 1)}
    assert result.removed == {"namespace_size": 1} and result.by_namespace == {("flood", "namespace_size"): 1}
    (sentence,) = result.in_words()
    assert sentence.startswith("1 recording of namespace flood has left: the namespace was over its limit of")
    # There is less room than the quotas promise: it is the one that uses more of its quota that gives way.
    store.set_budget(Budget(max_bytes=store.used_bytes() - size // 2))
    assert enforce_retention(store).removed == {"size": 1}
    assert tasks(store) == calm | {"flood/9", "flood/10", "flood/11"}


def test_a_store_over_its_budget_takes_from_the_namespace_that_uses_most_of_its_quota(store: Store) -> None:
    for name in ("small/1", "large/1", "free/1", "small/2", "large/2", "free/2", "large/3"):
        record(store, name)
    size = used(store)["small"] // 2
    command(store, "set", "--namespace", "small", f"max-bytes={10 * size}")
    command(store, "set", "--namespace", "large", f"max-bytes={6 * size}")

    def leave(recordings: int) -> set[str]:
        store.set_budget(Budget(max_bytes=store.used_bytes() - recordings * size + size // 2))
        before = tasks(store)
        enforce_retention(store)
        return before - tasks(store)

    assert leave(1) == {"free/1"}, "a namespace without a quota goes first"
    assert leave(2) == {"free/2", "large/1"}, "then the one that uses half of its quota, not the older one with a fifth"
    assert leave(1) == {"large/2"}


async def test_metrics_show_the_use_of_quotas(store: Store) -> None:
    for name in ("ml/a", "web/a", "web/b", "other/a"):
        record(store, name)

    async def shown() -> dict[str, tuple[float | None, float | None]]:
        await Upkeep(store, {})._make_room(threading.Event())
        names = ("cortex_jupyter_namespace_bytes", "cortex_jupyter_namespace_quota_bytes")
        return {
            ns: values
            for ns in ("ml", "web", "other", "*")
            if any(values := tuple(REGISTRY.get_sample_value(name, {"namespace": ns}) for name in names))
        }  # type: ignore[return-value]

    command(store, "set", "--namespace", "ml", "max-bytes=1GB")
    command(store, "set", "--namespace", "*", "max-bytes=2GB")
    sizes = used(store)
    assert await shown() == {"ml": (sizes["ml"], 1e9), "*": (sizes["web"], 2e9)}
    command(store, "set", "--namespace", "ml", "max-bytes=")
    command(store, "set", "--namespace", "*", "max-bytes=", "max-age=1d")
    assert await shown() == {}


def test_the_doctor_shows_how_much_of_its_quota_each_namespace_uses(store: Store) -> None:
    assert not [*doctor_store.quota_findings(store)]
    for name in ("ml/a", "web/a", "large/a", "large/b", "other/a"):
        record(store, name)
    size, web_size = used(store)["ml"], used(store)["web"]  # ids of different lengths compress differently
    command(store, "set", "--namespace", "ml", "max-bytes=50GB", "max-lines-per-s=5000")
    command(store, "set", "--namespace", "web", f"max-bytes={size * 11 // 10}")
    command(store, "set", "--namespace", "*", f"max-bytes={size * 3 // 2}", "max-age=7d")
    found = [(f.judged, f.text, f.todo) for f in doctor_store.quota_findings(store)]
    texts = {judged: " | ".join(text for j, text, _ in found if j == judged) for judged in ("warn", "told")}
    ml = f"namespace ml: recordings take {size / KB:.3g} kB; its limits: max-bytes=50000000000 max-age=7d"
    assert texts["told"].startswith(ml)
    taken, limit = f"{web_size / KB:.3g} kB", f"{size * 11 // 10 / KB:.3g} kB"
    assert f"namespace web: recordings take {taken} of at most {limit}" in texts["warn"]
    assert "the limits of each other namespace: max-bytes=" in texts["told"] and "were changed by" in texts["told"]
    (web, large) = (todo for judged, _, todo in found if judged == "warn")
    assert "namespace web: " in texts["warn"] and "--namespace web max-bytes=" in web and "ended first leave" in web
    assert "namespace large: " in texts["warn"] and "--namespace large max-bytes=" in large and "cannot leave" in large
    assert "other" not in texts["warn"] + texts["told"].replace("each other", "")


def test_a_namespaces_age_counts_if_it_is_shorter(store: Store) -> None:
    for name in ("ml/a", "web/a"):
        record(store, name, 10)
    command(store, "set", "--namespace", "ml", "max-age=7d")
    assert not enforce_retention(store, now=time.time() + 6 * 86400).removed
    result = enforce_retention(store, now=time.time() + 8 * 86400)
    assert tasks(store) == {"web/a"} and result.in_words() == [
        "1 recording of namespace ml has left: its task ended more than 7 days ago, which is the limit of the namespace"
    ]
    command(store, "set", "--namespace", "*", "max-age=900d")
    assert enforce_retention(store, now=time.time() + 31 * 86400).removed == {"age": 1}, "the store's own limit holds"


async def test_the_oldest_lines_of_a_namespace_leave_if_its_running_tasks_exceed_its_quota(store: Store) -> None:
    """The largest one gives way; another namespace has what it had, and what cannot leave does not count."""
    large, small, other = (record(store, *task, done=False) for task in (("ml/l", 300), ("ml/s", 100), ("web/a", 500)))
    finished, read, held = (
        record(store, "ml/done"),
        record(store, "ml/read", 200),
        record(store, "ml/h", 200, done=False),
    )
    store.want(read.id, 60)
    assert store.set_hold(held.id, Hold(held.ref.key, CLUSTER, "ann", 1.0, "case 12"))
    sizes = {row.id: row.bytes for row in store.usage()}
    command(store, "set", "--namespace", "ml", f"max-bytes={sizes[large.id]}")
    said: list[tuple[int, str, dict[str, str]]] = []
    upkeep = Upkeep(store, {hand.id: _running(store, hand, said) for hand in (large, small, other, held)})
    labels = {"reason": "namespace_limit"}
    before = REGISTRY.get_sample_value("cortex_jupyter_lines_lost_total", labels) or 0
    await upkeep._make_room(threading.Event())
    after = {row.id: row.bytes for row in store.usage()}
    assert finished.id not in after and all(after[hand.id] == sizes[hand.id] for hand in (read, held))
    assert after[small.id] == sizes[small.id] and after[other.id] == sizes[other.id]
    assert after[large.id] + after[small.id] <= sizes[large.id] * 1.05 and after[large.id] > sizes[large.id] // 2
    (gap,) = store.complete(large.id).gaps
    limit = f"the running recordings of namespace ml, which has reached its limit of {sizes[large.id] / KB:.3g} kB"
    assert limit in gap["reason"] and "store set --namespace ml max-bytes=" in gap["hint"]
    ((id_, message, fields),) = said
    assert id_ == large.id and limit in message and fields["hint"] == gap["hint"]
    assert REGISTRY.get_sample_value("cortex_jupyter_lines_lost_total", labels) == before + gap["lines"] > before
    await upkeep._make_room(threading.Event())
    assert {row.id: row.bytes for row in store.usage()} == after and len(said) == 1


def _running(store: Store, hand: Hand, said: list[tuple[int, str, dict[str, str]]]) -> RunningTask:
    def put_status(_: object, message: str, **fields: str) -> None:
        said.append((hand.id, message, fields))

    info, spoken = store.info(hand.id), type("Spoken", (), {"put_status": put_status})
    assert info is not None
    recorder: Any = spoken()
    return RunningTask(hand.lease, info, recorder)
