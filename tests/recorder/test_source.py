"""The log of one run of a container is read from its anchor to its end, whatever the cluster does meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY
from support.hand import REF, Hand, source, until
from support.node import T0, Node, cri, line, pod

from cortex_jupyter.errors import ClusterError, NotFound
from cortex_jupyter.model import Batch, parse_rfc3339, rfc3339
from cortex_jupyter.recorder.source import source as lib
from cortex_jupyter.recorder.source import stream
from cortex_jupyter.recorder.source.backfill import Backfill
from cortex_jupyter.recorder.source.context import Context
from cortex_jupyter.recorder.source.source import SourceReader
from cortex_jupyter.recorder.source.stream import RunState
from cortex_jupyter.recorder.text.masking import Masking
from cortex_jupyter.recorder.watching.pods import Pods
from cortex_jupyter.recorder.writing.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cortex_jupyter.store import Store

GONE = NotFound('pods "pod-1" not found')


def counted(name: str, **labels: str) -> float:
    """Return the value of a counter of the recorder's `/metrics`."""
    found = REGISTRY.get_sample_value(name, labels)
    assert found is not None
    return found


class Rig:
    """A `SourceReader` for pod 1, with all that a recorder gives it. `take_over` creates the reader of another recorder."""

    def __init__(self, store: Store, hand: Hand, node: Node) -> None:
        self.store, self.hand, self.node = store, hand, node
        self.sid = hand.source()
        self.source = source()
        self.masked = False
        self.writer: Writer
        self.context: Context
        self.pods: Pods
        self.reader: SourceReader

    def take_over(self, writer: Writer, *, seen: dict[str, Any] | None = None) -> SourceReader:
        lease = self.store.lease(self.hand.id, "me")
        info = self.store.info(self.hand.id)
        assert lease is not None and info is not None
        masking = Masking(self.masked or info.masked is not None)
        channel = writer.open(lease, "default:job/train-1", info.last_seq, masking, info.masked)
        known, anchor = self.store.sources(self.hand.id)[self.sid]
        channel.add_source(self.sid, known, anchor)
        self.pods = Pods()
        if seen is not None:
            self.pods.update(seen)
        self.channel = channel
        node: Any = self.node
        self.context = Context(node, "default", self.store, lease, channel, masking)
        self.reader = SourceReader(self.context, self.pods, self.source, self.sid)
        return self.reader

    async def run(self, writer: Writer, *, seen: dict[str, Any] | None = None) -> None:
        await asyncio.wait_for(self.take_over(writer, seen=seen).run(), 120)
        await self.channel.flush()

    @property
    def texts(self) -> list[str]:
        entries = self.store.entries(self.hand.id, 0, 1 << 30)
        return [m for e in entries if e.event == "log" for m in Batch.decode(e.data).texts]

    @property
    def gaps(self) -> list[str]:
        return [gap["reason"] for gap in self.store.complete(self.hand.id).gaps]

    def count_notices(self, text: str) -> int:
        """Return how many notices contain a text."""
        return sum(text.encode() in e.data for e in self.store.entries(self.hand.id, 0, 1 << 30) if e.event != "log")

    @property
    def marks(self) -> int:
        return self.count_notices('"notice":"unchecked"')

    @property
    def ended(self) -> bool:
        return self.store.sources(self.hand.id)[self.sid][1].ended


@pytest.fixture
async def writer(store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writer]:
    monkeypatch.setattr(lib, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(lib, "_STATE_LAG_S", 0.3)
    with Writer(store) as one:
        yield one


LOG = b"".join(line(i / 100, f"line {i}") for i in range(100))
ALL = [f"line {i}" for i in range(100)]


async def test_a_container_that_has_ended(store: Store, hand: Hand, writer: Writer) -> None:
    rig = Rig(store, hand, Node(pod("terminated"), LOG))
    await rig.run(writer)
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)


async def test_a_clean_end_of_a_stream_is_not_taken_for_the_end_of_the_log(
    store: Store, hand: Hand, writer: Writer
) -> None:
    node = Node(pod(), LOG)

    async def ends() -> None:
        node.pod = pod("terminated")

    # Streams end within a line, without a line, and with an error; then the container ends.
    node.scripts = [[LOG[:500]], [], [LOG[:700], ConnectionResetError()], [LOG, ends]]
    rig, before = Rig(store, hand, node), counted("cortex_jupyter_reconnects_total")
    await rig.run(writer)
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)
    assert counted("cortex_jupyter_reconnects_total") == before + 3


async def test_a_last_read_that_is_cut_is_repeated(store: Store, hand: Hand, writer: Writer) -> None:
    node = Node(pod("terminated"), LOG)
    node.scripts = [[LOG[:1234]], []]
    rig = Rig(store, hand, node)
    await rig.run(writer)
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)


async def test_last_reads_are_repeated_until_one_is_complete(store: Store, hand: Hand, writer: Writer) -> None:
    node = Node(pod("terminated"), LOG)
    # Four reads end at the same position, then each one a little later.
    node.scripts = [[LOG[:1000]]] * 4 + [[LOG[: 1000 + 300 * i]] for i in range(8)]  # type: ignore[operator]
    node.scripts = [list(one) for one in node.scripts]
    rig = Rig(store, hand, node)
    await rig.run(writer)
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)


async def test_last_lines_that_never_come_are_a_gap(
    store: Store, hand: Hand, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(pod("terminated"), LOG)
    node.scripts = [[LOG[:1000]] for _ in range(50)]
    rig, before = Rig(store, hand, node), counted("cortex_jupyter_gaps_total", reason="end_unread")
    await rig.run(writer)
    assert rig.texts == ALL[: len(rig.texts)] and len(rig.gaps) == 1 and rig.ended
    assert counted("cortex_jupyter_gaps_total", reason="end_unread") == before + 1
    (logged,) = (r for r in caplog.records if "lines are missing" in r.getMessage())
    assert logged.levelname == "WARNING" and vars(logged)["task"] == REF.key


async def test_a_clock_that_was_set_back_while_disconnected(store: Store, hand: Hand, writer: Writer) -> None:
    """A node omits lines older than `sinceTime`, although they are new."""
    back = b"".join(line(i / 100 - 3600, f"back {i}") for i in range(20))
    node = Node(pod("terminated"), LOG + back)

    async def ends() -> None:
        node.pod = pod("terminated")

    node.pod = pod()
    node.scripts = [[LOG, ends, ConnectionResetError()]]
    rig = Rig(store, hand, node)
    await rig.run(writer)
    assert rig.texts == [*ALL, *(f"back {i}" for i in range(20))]
    assert (rig.gaps, rig.ended) == ([], True)


async def test_a_stream_that_pauses_while_it_repeats_lines(store: Store, hand: Hand, writer: Writer) -> None:
    node = Node(pod("terminated"), LOG)
    rig = Rig(store, hand, node)

    async def paused() -> None:
        await until(lambda: rig.reader.caught_up)

    async def ends() -> None:
        node.pod = pod("terminated")

    node.pod = pod()
    node.scripts = [[LOG[:2000], ConnectionResetError()], [LOG[:300], paused, LOG[300:], ends]]
    await rig.run(writer)
    assert (rig.texts, rig.gaps) == (ALL, [])


@pytest.mark.parametrize("before", [b"", line(0, "a"), LOG])
@pytest.mark.parametrize("had", [1, 7, 8, 40])
async def test_many_equal_lines_with_the_same_time(
    store: Store, hand: Hand, writer: Writer, before: bytes, had: int
) -> None:
    """The last lines of the log are equal to earlier ones, so they do not prove that all lines have arrived."""
    one = line(5, "ok")
    node = Node(pod(), before + one * 50)

    async def ends() -> None:
        node.pod = pod("terminated")

    node.scripts = [[before + one * had, ends]]
    rig = Rig(store, hand, node)
    await rig.run(writer)
    assert rig.texts[-50:] == ["ok"] * 50 and len(rig.texts) == len(before.splitlines()) + 50
    assert (rig.gaps, rig.ended) == ([], True)


@pytest.mark.parametrize("log", [LOG[:-1], line(1, "only")[:-1], line(1, "x") + line(1, "x")[:-1]])
async def test_a_last_line_without_newline_survives_a_takeover(
    store: Store, hand: Hand, writer: Writer, log: bytes
) -> None:
    rig = Rig(store, hand, Node(pod("terminated"), log))
    expected = [one.partition(b" ")[2].decode() for one in log.split(b"\n")]
    for _ in range(3):  # each recorder is killed before it has recorded the end
        reader = rig.take_over(writer)
        await reader._stream.read(RunState.ENDED, reader._ask_state, reader._watched_state)
        await rig.channel.flush()
    await rig.run(writer)
    assert (rig.texts, rig.gaps, rig.ended) == (expected, [], True)


async def test_a_last_line_of_a_mebibyte(store: Store, hand: Hand, writer: Writer) -> None:
    rig = Rig(store, hand, Node(pod("terminated"), line(1, "a") + line(2, "x" * (1 << 20))))
    await rig.run(writer)
    assert [len(t) for t in rig.texts] == [1, 1 << 20] and rig.gaps == []


async def test_a_takeover_while_the_api_server_does_not_answer(store: Store, hand: Hand, writer: Writer) -> None:
    node = Node(ClusterError("etcdserver: leader changed"), LOG)
    rig = Rig(store, hand, node)
    run = asyncio.create_task(rig.run(writer))
    await until(lambda: hasattr(rig, "reader") and rig.reader.failure)
    assert not run.done()
    node.pod = pod("terminated")
    await run
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)


async def test_the_previous_run_is_read(store: Store, hand: Hand, writer: Writer) -> None:
    node = Node(pod(number=1, last=0), LOG)
    rig = Rig(store, hand, node)
    await rig.run(writer)
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)
    assert node.asked[0]["previous"] == "true"


async def test_a_run_before_the_previous_one_is_a_gap(store: Store, hand: Hand, writer: Writer) -> None:
    node = Node(pod(number=2, last=1), line(1, "of another run"))
    rig = Rig(store, hand, node)
    await rig.run(writer)
    assert rig.texts == [] and len(rig.gaps) == 1 and rig.ended


async def test_a_pod_that_is_deleted_after_it_ended(store: Store, hand: Hand, writer: Writer) -> None:
    """As with `ttlSecondsAfterFinished: 0`. The watch may report the end of the pod after the API returns 404."""
    node = Node(pod(), LOG)
    rig = Rig(store, hand, node)

    async def vanishes() -> None:
        node.pod = GONE
        asyncio.get_running_loop().call_later(0.1, lambda: rig.pods.remove(pod("terminated", finished=0)))

    node.scripts = [[LOG, vanishes]]
    await rig.run(writer, seen=pod())
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)
    assert rig.marks == 1  # the container ended in the same second as the stream


async def test_a_clean_end_does_not_prove_that_a_deleted_pod_wrote_no_more(
    store: Store, hand: Hand, writer: Writer
) -> None:
    """A load balancer ends the stream. Before the next one, the container writes more and ends, and its pod is deleted."""
    node = Node(pod(), LOG)
    rig = Rig(store, hand, node)

    async def vanishes() -> None:
        node.pod = GONE
        rig.pods.remove(pod("terminated", finished=8))

    node.scripts = [[b"".join(LOG.splitlines(keepends=True)[:64]), vanishes]]
    await rig.run(writer, seen=pod())
    assert (rig.texts, len(rig.gaps), rig.ended) == (ALL[:64], 1, True)


async def test_a_stream_that_a_load_balancer_ended_is_reopened_at_once(
    store: Store, hand: Hand, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While no stream is open, the container may write its last lines and its pod may be deleted."""
    monkeypatch.setattr(lib, "_STATE_LAG_S", 30.0)
    monkeypatch.setattr(lib, "_FIRST_WAIT_S", 30.0)
    monkeypatch.setattr("cortex_jupyter.recorder.source.last_lines._LOOK_S", 0.1)
    node = Node(pod(), b"".join(LOG.splitlines(keepends=True)[:64]))
    node.runs = True
    rig = Rig(store, hand, node)

    async def ends() -> None:
        node.log, node.pod = LOG, pod("terminated", finished=1)
        rig.pods.update(node.pod)

    node.scripts = [[node.log], [LOG, ends]]
    await rig.run(writer, seen=pod())
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)


@pytest.mark.parametrize("gone", [False, True])
async def test_a_log_that_the_node_removes_when_its_container_ends_is_no_gap(
    store: Store, hand: Hand, writer: Writer, *, gone: bool
) -> None:
    """A kubelet removes the log of a deleted pod before the API server knows that the container has ended."""
    node = Node(pod(), LOG)
    rig = Rig(store, hand, node)

    async def removed() -> None:
        node.removed = True

    async def told(reader: SourceReader) -> None:
        await until(lambda: len(node.asked) >= 2)
        node.pod = GONE if gone else pod("terminated", finished=1)
        (rig.pods.remove if gone else rig.pods.update)(pod("terminated", finished=1))

    node.scripts = [[LOG, removed]]
    reader = rig.take_over(writer, seen=pod())
    await asyncio.wait_for(asyncio.gather(reader.run(), told(reader)), 120)
    await rig.channel.flush()
    assert (rig.texts, rig.gaps, rig.ended, rig.marks) == (ALL, [], True, 1)
    assert not rig.count_notices("unable to retrieve")


async def test_a_stream_that_outlived_its_container_is_complete(store: Store, hand: Hand, writer: Writer) -> None:
    """The stream was still open a second after the container's end, so all lines have arrived."""
    node = Node(pod(), LOG)
    rig = Rig(store, hand, node)

    async def outlives() -> None:
        await asyncio.sleep(0.5)
        node.removed, node.pod = True, GONE
        rig.pods.remove(pod("terminated", finished=0))

    node.scripts = [[LOG, outlives]]
    await rig.run(writer, seen=pod())
    assert (rig.texts, rig.gaps, rig.ended, rig.marks) == (ALL, [], True, 0)


async def test_a_removed_log_after_a_broken_stream_is_a_gap(store: Store, hand: Hand, writer: Writer) -> None:
    node = Node(pod(), LOG)
    rig = Rig(store, hand, node)

    async def removed() -> None:
        node.removed, node.pod = True, pod("terminated", finished=1)
        rig.pods.update(node.pod)

    node.scripts = [[LOG, removed, ConnectionResetError()]]
    await rig.run(writer, seen=pod())
    assert (rig.texts, len(rig.gaps), rig.ended) == (ALL, 1, True)


@pytest.mark.parametrize("lines", [LOG, b""])
async def test_lines_of_the_next_run_are_not_recorded_for_this_run(
    store: Store, hand: Hand, writer: Writer, lines: bytes
) -> None:
    """The kubelet serves the next run while the API server still shows this one as running."""
    node = Node(pod(), line(30, "of the next run") + line(31, "as well"))
    node.previous = lines
    rig = Rig(store, hand, node)

    async def told(reader: SourceReader) -> None:
        await until(lambda: len([q for q in node.asked if "previous" in q]) >= 2)
        node.pod = pod(number=1, last=0)
        rig.pods.update(node.pod)

    node.scripts = [[lines]]
    reader = rig.take_over(writer, seen=pod())
    await asyncio.wait_for(asyncio.gather(reader.run(), told(reader)), 120)
    await rig.channel.flush()
    assert (rig.texts, rig.gaps, rig.ended) == (ALL if lines else [], [], True)


async def _read_a_run_late(rig: Rig, writer: Writer, behind: dict[str, Any], then: dict[str, Any]) -> None:
    """Read while the API server is one run behind the kubelet; let it catch up after the second request for the previous run."""

    async def told(reader: SourceReader) -> None:
        await until(lambda: len([q for q in rig.node.asked if "previous" in q]) >= 2)
        rig.node.pod = then
        rig.pods.update(then)

    rig.node.pod = behind
    reader = rig.take_over(writer, seen=behind)
    await asyncio.wait_for(asyncio.gather(reader.run(), told(reader)), 120)
    await rig.channel.flush()


@pytest.mark.parametrize("lines", [LOG, b""])
async def test_a_first_stream_with_lines_of_the_next_run_is_not_recorded_for_this_run(
    store: Store, hand: Hand, writer: Writer, lines: bytes
) -> None:
    """The container was just restarted. The kubelet serves run 1 before the API server knows that run 0 has ended."""
    node = Node(pod(), line(2, "of the next run") + line(3, "as well"))
    node.previous = lines
    rig = Rig(store, hand, node)
    await _read_a_run_late(rig, writer, pod(), pod(number=1, last=0))
    assert (rig.texts, rig.gaps, rig.ended) == (ALL if lines else [], [], True)


async def test_a_first_stream_of_run_2_is_not_recorded_for_run_1(store: Store, hand: Hand, writer: Writer) -> None:
    """No line of run 1 is recorded to compare with, but its start time is known."""
    node = Node(pod(), line(30, "of run 2"))
    node.previous = LOG
    rig = Rig(store, hand, node)
    rig.source = source(run=1)
    behind = pod(number=1, last=0, finished=-12)
    (status,) = behind["status"]["containerStatuses"]
    status["state"]["running"]["startedAt"] = rfc3339(T0)
    await _read_a_run_late(rig, writer, behind, pod(number=2, last=1, finished=2))
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)


@pytest.mark.parametrize("previous", [None, LOG])
async def test_a_first_stream_of_this_run_is_read_whatever_the_node_serves_as_previous(
    store: Store, hand: Hand, writer: Writer, previous: bytes | None
) -> None:
    """A virtual kubelet that does not know `previous` returns the lines of this run."""
    node = Node(pod(), LOG)
    node.previous = previous
    rig = Rig(store, hand, node)

    async def ends() -> None:
        node.pod = pod("terminated")

    node.scripts = [[LOG, ends]]
    await rig.run(writer, seen=pod())
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)
    assert len([q for q in node.asked if "previous" in q]) == 1


@pytest.mark.parametrize(
    ("age", "never", "asks"), [(0, False, 1), (0, True, 0), (600, False, 0)], ids=["fresh", "never-restarts", "old"]
)
async def test_the_run_of_a_first_stream_is_checked_only_if_a_restart_is_possible(
    store: Store, hand: Hand, writer: Writer, *, age: int, never: bool, asks: int
) -> None:
    log = b"".join(line(i / 100 - age, f"line {i}") for i in range(100))
    node = Node(pod(), log)
    running, over = pod(), pod("terminated")
    for one in (running, over):
        one["spec"]["restartPolicy"] = "Never" if never else "OnFailure"
    node.pod = running

    async def ends() -> None:
        node.pod = over

    node.scripts = [[log, ends]]
    rig = Rig(store, hand, node)
    await rig.run(writer, seen=running)
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)
    assert len([q for q in node.asked if "previous" in q]) == asks


async def test_the_log_of_an_ended_run_does_not_count_as_read_before_it_arrives(
    store: Store, hand: Hand, writer: Writer
) -> None:
    """If a running container's stream is silent, the reader has caught up. If an ended run's is, the answer is only slow."""
    node, caught_up = Node(pod("terminated"), LOG), []

    async def slow() -> None:
        await asyncio.sleep(3 * stream._QUIET_S)
        caught_up.append(rig.reader.caught_up)

    node.scripts = [[slow, LOG]]
    rig = Rig(store, hand, node)
    await rig.run(writer, seen=pod("terminated"))
    assert (caught_up, rig.texts, rig.reader.caught_up) == ([False], ALL, True)


@pytest.mark.parametrize("recorded", [True, False])
async def test_the_next_run_is_not_recorded_for_a_run_whose_log_the_node_has_removed(
    store: Store, hand: Hand, writer: Writer, *, recorded: bool
) -> None:
    """This happened on a real cluster. Run 1 had ended, the kubelet had removed run 0, and the API server still showed run 0."""
    shown = pod("terminated", exit_code=3, finished=1)
    shown["spec"]["restartPolicy"] = "OnFailure"
    node = Node(shown, line(2, "of the next run") + line(2.1, "as well"))
    node.scripts = [[LOG]] if recorded else []
    rig = Rig(store, hand, node)
    reading = asyncio.create_task(rig.run(writer, seen=shown))
    await until(lambda: len([query for query in node.asked if "previous" in query]) >= 2)
    assert rig.texts == (ALL if recorded else [])
    node.pod = pod("terminated", number=1, last=0)
    node.removed = True
    await reading
    assert (rig.texts, rig.ended) == (ALL if recorded else [], True)


@pytest.mark.parametrize(
    ("newest", "error", "asks"),
    [(line(2, "of run 1"), None, 2), (b"", None, 2), (line(2, "of run 1"), ConnectionResetError(), 3)],
    ids=["clean", "clean-no-lines", "broken"],
)
async def test_a_run_that_was_read_to_its_end_is_complete_though_the_node_removes_its_log(
    store: Store, hand: Hand, writer: Writer, newest: bytes, error: Exception | None, asks: int
) -> None:
    """The run's stream ended, and the node served the run as the previous one, so no line can be missing."""
    node = Node(pod(), LOG)
    rig = Rig(store, hand, node)

    async def restarts() -> None:
        node.log, node.previous, node.runs = newest, LOG, True
        if error is not None:
            raise error

    node.scripts = [[LOG, restarts]]
    reading = asyncio.create_task(rig.run(writer, seen=pod()))
    # Requests for the previous run: for the first stream, for a stream with other lines, and for the end.
    await until(lambda: len([query for query in node.asked if "previous" in query]) >= asks, 20)
    node.pod, node.removed = pod("terminated", number=1, last=0), True
    await reading
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)


async def test_in_crash_loop_back_off_an_earlier_run_cannot_be_read(store: Store, hand: Hand, writer: Writer) -> None:
    """While the next start is delayed, the node returns the newest run as the previous one."""
    backed_off = pod("terminated", number=1)
    (status,) = backed_off["status"]["containerStatuses"]
    ended = status["state"]["terminated"] | {"containerID": "containerd://1-1"}
    status["state"], status["lastState"] = {"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": ended}
    node = Node(backed_off, line(1, "of the newest run"))
    rig = Rig(store, hand, node)
    await rig.run(writer)
    assert (rig.texts, len(rig.gaps), rig.ended) == ([], 1, True)


@pytest.mark.parametrize("complete", [True, False])
async def test_a_pod_that_is_deleted_while_its_last_lines_are_checked(
    store: Store, hand: Hand, writer: Writer, *, complete: bool
) -> None:
    """A failed Job deletes its running pods. The stream was complete (`complete`), or it broke."""

    class Deleting(Node):
        async def json(self, path: str, query: dict[str, str] | None = None) -> Any:
            answer = await super().json(path, query)
            if "terminated" in str(answer):
                self.pod = GONE
            return answer

    node = Deleting(pod(), LOG)

    async def ends() -> None:
        node.pod = pod("terminated", finished=1)

    node.scripts = [[LOG, ends] if complete else [LOG[:1000], ends, ConnectionResetError()]]
    rig = Rig(store, hand, node)
    await rig.run(writer, seen=pod())
    assert (rig.texts == ALL, len(rig.gaps), rig.ended) == (complete, int(not complete), True)


async def test_a_pod_that_is_deleted_after_last_lines_were_found_missing(
    store: Store, hand: Hand, writer: Writer
) -> None:
    """A break between node and API server looks like a clean end. The reader finds that last lines are missing; then the pod is gone."""

    class Deleting(Node):
        @asynccontextmanager
        async def request(self, path: str, query: dict[str, str] | None = None, **options: Any) -> AsyncIterator[Any]:
            async with super().request(path, query, **options) as response:
                yield response
            if "tailLines" in (query or {}):
                self.pod = GONE

    node = Deleting(pod(), LOG)

    async def ends() -> None:
        node.pod = pod("terminated")

    node.scripts = [[LOG[:1000], ends]]
    rig = Rig(store, hand, node)
    await rig.run(writer, seen=pod())
    assert rig.texts == ALL[: len(rig.texts)] != ALL
    assert (len(rig.gaps), rig.ended) == (1, True)


async def test_a_pod_that_is_deleted_while_it_ran_leaves_a_gap(store: Store, hand: Hand, writer: Writer) -> None:
    node = Node(pod(), LOG)
    rig = Rig(store, hand, node)

    async def vanishes() -> None:
        node.pod = GONE
        rig.pods.remove(pod())

    node.scripts = [[LOG[:1000], vanishes, ConnectionResetError()]]
    await rig.run(writer, seen=pod())
    assert len(rig.gaps) == 1 and rig.ended
    assert rig.texts == ALL[: len(rig.texts)]


async def test_rotation_leaves_a_gap_with_its_bounds(store: Store, hand: Hand, writer: Writer) -> None:
    node = Node(pod(), LOG)

    async def ends() -> None:
        node.pod, node.log = pod("terminated"), line(50, "after") + line(51, "end")

    node.scripts = [[LOG], [line(50, "after"), line(51, "end"), ends]]
    rig = Rig(store, hand, node)
    await rig.run(writer)
    assert rig.texts == [*ALL, "after", "end"]
    gaps = store.complete(hand.id).gaps
    assert [(int(g["to"]) - int(g["from"])) // 1_000_000_000 for g in gaps] == [49]


async def test_rotated_files_close_the_gap(store: Store, hand: Hand, writer: Writer) -> None:
    node = Node(pod(), LOG)
    lost = [line(30 + i, f"rotated {i}") for i in range(3)]

    async def ends() -> None:
        node.pod, node.log = pod("terminated"), line(50, "after") + line(51, "end")

    node.files = {"0.log.20231114-221400": cri(LOG + lost[0]), "0.log.20231114-221410": cri(lost[1] + lost[2])}
    node.scripts = [[LOG], [line(50, "after"), line(51, "end"), ends]]
    rig = Rig(store, hand, node)
    await rig.run(writer)
    assert rig.texts == [*ALL, "rotated 0", "rotated 1", "rotated 2", "after", "end"]
    assert not store.complete(hand.id).gaps


async def test_only_a_long_interruption_is_reported(
    store: Store, hand: Hand, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(pod(), LOG)
    rig = Rig(store, hand, node)
    messages: list[str] = []

    async def caught_up() -> None:
        await until(lambda: rig.reader.caught_up)

    async def fails() -> None:
        messages.append(rig.reader.failure_message)
        raise ConnectionResetError("the node is away")

    async def lasts() -> None:
        monkeypatch.setattr(lib, "_INTERRUPTED_S", 0.0)
        await fails()

    async def ends() -> None:
        node.pod = pod("terminated")

    node.scripts = [[LOG, caught_up, fails], [fails], [lasts], [LOG, ends]]
    await rig.run(writer)
    assert messages == ["", "", "Log interrupted: the node is away"]
    assert (rig.reader.failure_message, rig.texts, rig.gaps) == ("", ALL, [])


async def test_a_stalled_stream_is_reopened(
    store: Store, hand: Hand, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_jupyter.recorder.source.stream._SILENT_S", 0.05)
    node = Node(pod(), LOG)

    async def written() -> None:
        node.log = LOG + line(40, "written while the stream stood still")
        await asyncio.Event().wait()

    async def ends() -> None:
        node.pod = pod("terminated")

    node.scripts = [[LOG, written], [LOG + line(40, "written while the stream stood still"), ends]]
    rig = Rig(store, hand, node)
    await rig.run(writer)
    assert rig.texts == [*ALL, "written while the stream stood still"]
    assert not store.complete(hand.id).gaps


async def test_a_last_read_that_falls_silent_is_repeated(
    store: Store, hand: Hand, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_jupyter.recorder.source.stream._DEAD_S", 0.05)
    node = Node(pod("terminated"), LOG)
    node.scripts = [[LOG[:1234], asyncio.Event().wait]]
    rig = Rig(store, hand, node)
    await rig.run(writer)
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)


async def test_a_stream_that_stays_open_and_silent_ends_with_its_container(
    store: Store, hand: Hand, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is missing, so the check of the last lines does not find a stalled stream. Yet the connection may be dead."""
    monkeypatch.setattr("cortex_jupyter.recorder.source.stream._SILENT_S", 0.05)
    node = Node(pod(), LOG)
    rig = Rig(store, hand, node)

    async def ends() -> None:
        node.pod = pod("terminated")
        rig.pods.update(node.pod)  # as the watch does
        await asyncio.Event().wait()

    node.scripts = [[LOG, ends]]
    await rig.run(writer)
    assert (rig.texts, rig.gaps, rig.ended) == (ALL, [], True)


async def test_a_stream_that_stays_open_and_silent_ends_with_its_pod(
    store: Store, hand: Hand, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cortex_jupyter.recorder.source.stream._SILENT_S", 0.05)
    node = Node(pod(), LOG)

    async def deleted() -> None:
        node.pod = GONE  # and no watch reports it
        await asyncio.Event().wait()

    node.scripts = [[LOG, deleted]]
    rig = Rig(store, hand, node)
    await rig.run(writer)
    assert (rig.texts, rig.ended) == (ALL, True)
    assert rig.gaps == ["its pod was deleted before the end of its log could be read"]


async def test_a_gap_for_a_whole_run_begins_when_the_run_may_have_begun(
    store: Store, hand: Hand, writer: Writer
) -> None:
    """No line of the run is recorded, so the gap cannot begin at a last line. It must not have length 0."""
    rig = Rig(store, hand, Node(GONE))
    await rig.run(writer, seen=pod())
    (gap,) = store.complete(hand.id).gaps
    assert int(gap["from"]) == parse_rfc3339("2023-11-14T22:00:00Z"), "the gap does not begin when the pod was created"
    assert int(gap["to"]) > int(gap["from"])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"0.log.20231114-221310": cri(b"".join(line(i - 10, f"old {i}") for i in range(10)))},
            "its older lines were read from rotated files, back to 2023-11-14T22:13:10.000000000Z",
        ),
        (None, "its older lines cannot be read if they were rotated away"),
        (
            {"0.log.20231114-221310.gz": b"no gzip"},
            "its older lines cannot be read: the node's 0.log.20231114-221310.gz is not a complete gzip file",
        ),
    ],
    ids=["read", "forbidden", "damaged"],
)
async def test_a_backfill_reports_whether_it_read_older_lines(
    store: Store, hand: Hand, writer: Writer, files: dict[str, bytes] | None, message: str
) -> None:
    rig = Rig(store, hand, Node(pod("terminated"), LOG))
    await rig.run(writer)
    rig.node.files = files
    await Backfill(rig.context, rig.source, rig.sid).run()
    await rig.channel.flush()
    assert rig.count_notices(f": {message}") == 1


def test_a_deleted_pod_does_not_come_back() -> None:
    pods = Pods()
    pods.update(pod())
    pods.remove(pod("terminated"))
    pods.update(pod())  # a late answer
    assert not pods.present
    assert len(pods.all) == 1
