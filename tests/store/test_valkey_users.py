"""The users of docs/how-to/valkey-users.acl: what each can do with a shared store, and what not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import valkey
from support.hand import CLUSTER, REF, Hand, recorder, source, until
from support.kube import pod_spec, python_container, python_job
from support.valkey import Server

from cortex_jupyter.cli.command_line import run
from cortex_jupyter.cli.doctor.store import judge
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.errors import NotAllowed, RecorderError, RecordingDeleted, StoreBusy, StoreError
from cortex_jupyter.model import Batch, TaskRef
from cortex_jupyter.reader import session as session_lib
from cortex_jupyter.reader.session import Session
from cortex_jupyter.recorder import recorder as recorder_lib
from cortex_jupyter.recorder.__main__ import main as record
from cortex_jupyter.recorder.collector.selection import Selection
from cortex_jupyter.recorder.process.launch import ensure_recorder
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.store import Commit, RecorderInfo
from cortex_jupyter.store.compact import compact
from cortex_jupyter.store.deletion import Deletion, Hold
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.settings import Settings, write_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from conftest import SandboxProcess
    from support.kube import Kube

    from cortex_jupyter.store import Store

ROOT = Path(__file__).parents[2]
ACL = ROOT / "docs" / "how-to" / "valkey-users.acl"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Yield a server with the users of the documented file; the passwords are the placeholders in it."""
    with Server(tmp_path / "valkey", login=("admin", "ADMIN_PASSWORD"), aclfile=ACL) as one:
        yield one


@pytest.fixture
def open_as(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Store]]:
    """Return a function that opens the store as one of the users."""
    monkeypatch.setenv("CORTEX_STORE_PASSWORD", "")
    with contextlib.ExitStack() as stack:
        yield lambda user: stack.enter_context(contextlib.closing(open_store(url(server, user))))


def url(server: Server, user: str) -> str:
    return server.url.replace("//", f"//{user}:{user.upper()}_PASSWORD@")


def test_the_users_of_an_existing_server_get_the_new_rights_and_keep_their_passwords(tmp_path: Path) -> None:
    """Run the command of docs/how-to/update.md on a server with an older file."""
    older = tmp_path / "older.acl"
    older.write_text(
        re.sub(r" %R~cortex:(deleted|deleted-tasks|holds)(?= )", "", ACL.read_text()) + "user other on >x\n"
    )
    page = (ROOT / "docs" / "how-to" / "update.md").read_text()
    (command,) = re.findall(r"```bash\n(sed .*?)```", page, re.DOTALL)
    with Server(tmp_path / "valkey", login=("admin", "ADMIN_PASSWORD"), aclfile=older) as server:
        with valkey.Valkey(port=server.port, username="reader", password="READER_PASSWORD") as reader:
            with pytest.raises(valkey.exceptions.NoPermissionError):
                reader.hgetall("cortex:holds")
            here = command.replace("-h cortex-jupyter-valkey.cortex-jupyter", f"-p {server.port}")
            done = subprocess.run(
                ["bash", "-euc", here],
                cwd=ACL.parent,
                env=os.environ | {"REDISCLI_AUTH": "ADMIN_PASSWORD"},
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout.split() == ["OK", "OK"], done.stdout
            assert reader.hgetall("cortex:holds") == {}, "the open connection has the new right"
        with valkey.Valkey(
            port=server.port, username="admin", password="ADMIN_PASSWORD", decode_responses=True
        ) as admin:
            users: Any = admin.acl_list()
    with (
        Server(tmp_path / "new", login=("admin", "ADMIN_PASSWORD"), aclfile=ACL) as fresh,
        valkey.Valkey(port=fresh.port, username="admin", password="ADMIN_PASSWORD", decode_responses=True) as admin,
    ):
        wanted: Any = admin.acl_list()
    assert sorted(line for line in users if " other " not in line) == sorted(wanted)


def client(server: Server, user: str) -> valkey.Valkey:
    return valkey.Valkey(port=server.port, username=user, password=f"{user.upper()}_PASSWORD", socket_timeout=5)


def texts(store: Store, recording: int) -> list[str]:
    entries = store.entries(recording, 0, 1 << 20)
    return [text for entry in entries if entry.event == "log" for text in Batch.decode(entry.data).texts]


def test_nobody_enters_without_a_password(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEX_STORE_PASSWORD", "")
    with pytest.raises(StoreError, match="refuses the user or the password"):
        open_store(server.url)


def test_the_recorder_does_all_that_a_store_does_and_does_not_administer_the_server(
    server: Server, open_as: Callable[[str], Store]
) -> None:
    store = open_as("recorder")
    hand = Hand(store)
    for i in range(10):
        hand.lines([(i, 1, str(i))])
    compact(store, hand.lease, done=True)
    write_settings(store, {"archive": "s3://logs/runs", "max-age": "30d"}, "a test")
    hand.end()
    assert store.budget() and store.oldest_removable() is None, "it is not archived"
    assert store.mark_archived(hand.id, "s3://logs/runs") and store.forget(hand.id)
    for command in (
        *(("FLUSHALL",), ("FLUSHDB",), ("CONFIG", "GET", "*"), ("CONFIG", "SET", "maxmemory", "1"), ("ACL", "LIST")),
        *(("SHUTDOWN",), ("KEYS", "*"), ("MONITOR",), ("REPLICAOF", "NO", "ONE")),
        *(("CLIENT", "KILL", "TYPE", "normal"), ("SCRIPT", "FLUSH"), ("FUNCTION", "FLUSH"), ("BGSAVE",)),
        *(("GET", "others:key"), ("SET", "others:key", "1"), ("PUBLISH", "others", "1")),
    ):
        with client(server, "recorder") as one, pytest.raises(valkey.exceptions.NoPermissionError):
            one.execute_command(*command)


def test_a_script_of_ours_has_no_command_that_the_recorder_may_not_run(server: Server) -> None:
    """A script that is rarely run, and a command that is new in it, would otherwise fail in production only."""
    folder = ROOT / "cortex_jupyter" / "store" / "valkey"
    used = {name for path in folder.glob("scripts/*.lua") for name in re.findall(r"call\('([A-Z]+)'", path.read_text())}
    used |= {name for path in folder.glob("*.py") for name in re.findall(r'ask\(\s*"([A-Z]+)"', path.read_text())}
    assert len(used) > 25
    for command in sorted(used - {"CONFIG"}):  # what CONFIG GET tells is left out where it is refused
        answer = server.ask(
            "ACL", "DRYRUN", "recorder", command, *["cortex:1", "1", "1", "1"][: _least(server, command)]
        )
        assert answer == b"OK" or "wrong number of arg" in str(answer), (command, answer)


def _least(server: Server, command: str) -> int:
    """Return how many arguments a command needs at least."""
    (details,) = server.ask("COMMAND", "INFO", command).values()
    return abs(int(details["arity"])) - 1


def test_a_reader_reads_and_wishes(server: Server, open_as: Callable[[str], Store]) -> None:
    hand = Hand(open_as("recorder"))
    hand.source(1)
    hand.lines([(1, 1, "one"), (2, 1, "two")])
    write_settings(open_as("recorder"), {"max-age": "30d"}, "a test")
    reader = open_as("reader")
    assert reader.is_reader() and not open_as("recorder").is_reader() and not open_as("admin").is_reader()
    assert [info.id for info in reader.recordings()] == [hand.id] == [info.id for info in reader.unfinished(CLUSTER)]
    assert texts(reader, hand.id) == ["one", "two"] and reader.complete(hand.id).records == 2
    assert reader.entry(hand.id, 2) and reader.index(hand.id) and reader.sources(hand.id)
    assert reader.find(REF) and reader.holders([hand.id]) and reader.recorders(CLUSTER)
    assert reader.budget().max_age_s and reader.setting("max_age_s") and not reader.setting("archive")
    assert reader.usage()
    assert reader.describe() and reader.health_warnings() and reader.size() and reader.used_bytes()
    reader.want(hand.id, 30)
    assert [info.id for info in open_as("recorder").wanted(CLUSTER)] == [hand.id]
    assert reader.open(CLUSTER, REF, "u1") == hand.id, "what is recorded needs no recorder"


def test_a_reader_sees_holds_and_deletions_and_makes_none(server: Server, open_as: Callable[[str], Store]) -> None:
    recorder_store, reader = open_as("recorder"), open_as("reader")
    held, deleted = Hand(recorder_store), Hand(recorder_store, uid="u2")
    for hand in (held, deleted):
        hand.end()
    hold = Hold(REF.key, CLUSTER, "ann", 1.0, "case 12")
    deletion = Deletion(deleted.id, CLUSTER, REF.namespace, REF.kind, REF.name, "u2", "ann", 1.0)
    for attempt in (
        lambda: reader.set_hold(held.id, hold),
        lambda: reader.delete(deletion),
        lambda: reader.allow_again(deletion),
    ):
        with pytest.raises(StoreError, match="refuses a command"):
            attempt()
    assert recorder_store.set_hold(held.id, hold)
    recorder_store.delete(deletion)
    assert reader.holds() == {held.id: hold} and reader.deletions() == [reader.deletion(deleted.id)] == [deletion]
    assert reader.oldest_removable() is None
    with pytest.raises(RecordingDeleted, match="by ann"):
        reader.open(CLUSTER, REF, "u2")
    with pytest.raises(StoreError, match="refuses a command"):
        reader.set_hold(held.id, None)


def test_a_reader_writes_nothing_else(server: Server, open_as: Callable[[str], Store]) -> None:
    hand = Hand(open_as("recorder"))
    hand.source(1)
    hand.lines([(1, 1, "one")])
    reader = open_as("reader")
    attempts: dict[str, Callable[[], Any]] = {
        "a line": lambda: reader.commit(hand.lease, Commit(update={"state": "failed"})),
        "a source": lambda: reader.add_source(hand.lease, source(2)),
        "a lease": lambda: reader.lease(hand.id, hand.lease.owner),
        "the lease of another": lambda: reader.leave(hand.lease.owner),
        "a heartbeat": lambda: reader.beat(recorder()),
        "a setting": lambda: reader.set_setting("mask", "0"),
        "settings": lambda: write_settings(reader, {"archive": "s3://mine/runs"}, "me"),
        "an archive mark": lambda: reader.mark_archived(hand.id, "s3://mine/runs"),
    }
    for name, attempt in attempts.items():
        with pytest.raises(StoreError, match=r"refuses a command to this user: .*(permission|ACL)") as caught:
            attempt()
        assert "valkey-users.acl" in caught.value.hint, name
    hand.end()
    with pytest.raises(StoreError, match="refuses a command"):
        reader.forget(hand.id)
    everything = {key: server.ask("DUMP", key) for key in server.ask("KEYS", "*")}
    for command in (
        *(("DEL", f"cortex:{hand.id}"), ("HSET", f"cortex:{hand.id}", "owner", "me"), ("DEL", "cortex:wanted")),
        *(("SET", "cortex:version", "99 99"), ("HSET", "cortex:settings", "mask", "0"), ("FLUSHALL",), ("KEYS", "*")),
        *(("XADD", f"cortex:{hand.id}:live", "*", "h", "x"), ("XTRIM", f"cortex:{hand.id}:live", "MAXLEN", "0")),
        *(("SET", "cortex:recorder:me", "x"), ("ZADD", "cortex:done", "1", f"{hand.id}"), ("CONFIG", "GET", "*")),
        *(("SMEMBERS", "cortex:leases:me"), ("ZRANGE", "cortex:requests", "0", "-1"), ("GET", "others:key")),
        *(("PUBLISH", f"cortex:changed:{hand.id}", ""), ("SUBSCRIBE", "cortex:wishes"), ("PSUBSCRIBE", "*")),
        *(("SCRIPT", "FLUSH"), ("FUNCTION", "LIST"), ("CLIENT", "LIST"), ("ACL", "WHOAMI"), ("SCAN", "0")),
        ("EVAL", f"return redis.call('DEL', 'cortex:{hand.id}')", "0"),
    ):
        with client(server, "reader") as one, pytest.raises(valkey.ResponseError, match=r"(?i)permission|ACL failure"):
            one.execute_command(*command)
    assert {key: server.ask("DUMP", key) for key in server.ask("KEYS", "*")} == everything


def test_the_doctor_and_a_recorder_say_what_a_reader_may_not(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORTEX_STORE_PASSWORD", "")
    monkeypatch.setenv("CORTEX_STORE", url(server, "reader"))
    findings = [*judge(url(server, "reader"), CLUSTER)]
    assert not [finding for finding in findings if finding.judged == "bad"]
    assert any("may only read" in finding.text for finding in findings)
    for options in (["--all"], []):
        assert record(["--store", url(server, "reader"), *options]) == 1
        error = capsys.readouterr().err
        assert "may only read" in error and "RECORDER" not in error and "_PASSWORD" not in error, error


def test_a_reader_hears_of_collectors_for_another_name_of_the_cluster(open_as: Callable[[str], Store]) -> None:
    reader, recording_store = open_as("reader"), open_as("recorder")
    recording_store.open("prod-1", REF, "u")
    in_pod = RecorderInfo("c1", "prod-1", "a-node", 1, time.time(), selection="* ")
    for collectors in ([in_pod], [in_pod, replace(in_pod, id="c2")]):
        for each in collectors:
            recording_store.beat(each)
        missing = ensure_recorder(reader, CLUSTER, namespace="ml")
        assert missing is not None
        with pytest.raises(StoreBusy, match="no recorder is alive") as caught:
            reader.open(CLUSTER, TaskRef("ml", "job", "new"), "u")
        for hint in (missing.hint, caught.value.hint):
            assert f"other cluster names: {len(collectors)} for 'prod-1'; here the cluster is named '{CLUSTER}'" in hint
            assert "set CORTEX_CLUSTER to 'prod-1' here" in hint
    recording_store.beat(replace(in_pod, id="c3", cluster=CLUSTER, namespaces=("other",)))
    missing = ensure_recorder(reader, CLUSTER, namespace="ml")
    assert missing is not None and "CORTEX_CLUSTER" not in missing.hint, "the name is right, only the namespace is not"


def test_a_reader_starts_no_recorder_and_restores_no_setting(server: Server, open_as: Callable[[str], Store]) -> None:
    reader = open_as("reader")
    missing = ensure_recorder(reader, CLUSTER, namespace="ml")
    assert missing is not None and "namespace 'ml'" in missing.message and "start a collector" in missing.hint
    with pytest.raises(StoreBusy, match="no recorder is alive to begin one"):
        reader.open(CLUSTER, TaskRef("ml", "job", "new"), "u")
    settings = Settings(reader)
    write_settings(open_as("recorder"), {"mask": "on"}, "a test")
    settings.look()
    server.ask("FLUSHALL")
    settings.look()
    assert not reader.setting("mask") and not server.ask("KEYS", "*")


@pytest.mark.parametrize("collector", [{"namespaces": ("other",)}, {"refused": ("ml",)}])
def test_a_reader_does_not_wait_for_a_collector_that_may_not_record_the_namespace(
    server: Server, open_as: Callable[[str], Store], collector: dict[str, Any]
) -> None:
    reader = open_as("reader")
    open_as("recorder").beat(RecorderInfo("c1", CLUSTER, "a-node", 1, time.time(), selection="* ", **collector))
    with pytest.raises(StoreBusy, match="no recorder that may record namespace 'ml' is alive") as caught:
        reader.open(CLUSTER, TaskRef("ml", "job", "new"), "u")
    assert "start a collector" in caught.value.hint and not server.ask("ZCARD", "cortex:requests")


class Collector:
    """A collector in this process, as the user `recorder`."""

    def __init__(self, cluster: Cluster, store: Store) -> None:
        self._cluster, self.store = cluster, store
        self.start()

    def start(self) -> None:
        selection = Selection(self._cluster, self.store, namespaces=("default",))
        self._running = asyncio.create_task(Recorder(self.store, self._cluster, selection=selection).run())

    async def end(self) -> None:
        self._running.cancel()
        await asyncio.wait([self._running])


@pytest.fixture
async def collector(sandbox: SandboxProcess, open_as: Callable[[str], Store]) -> AsyncIterator[Collector]:
    async with await Cluster.open(str(sandbox.kubeconfig)) as cluster:
        collector = Collector(cluster, open_as("recorder"))
        yield collector
        await collector.end()


@pytest.fixture
async def session(
    server: Server, sandbox: SandboxProcess, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Session]:
    """Yield a session as the reader, beside a collector."""
    monkeypatch.setenv("KUBECONFIG", str(sandbox.kubeconfig))
    monkeypatch.setenv("CORTEX_STORE", url(server, "reader"))
    reading = await Session.connect(url(server, "reader"), str(sandbox.kubeconfig))
    yield reading
    await reading.close()


async def test_a_session_of_a_reader(
    server: Server, session: Session, kube: Kube, unique: Callable[[str], str], capfd: pytest.CaptureFixture[str]
) -> None:
    """A user's server or terminal has this user. Tasks, lines, searches and streams are there, also of new tasks."""
    name, api = unique("train"), unique("api")
    kube.create(python_job(name, "print('line one'); print('line two')"))
    await until(lambda: session.store.find(TaskRef("default", "job", name)))
    recording = await session.find(TaskRef("default", "job", name))
    await until(lambda: session.store.complete(recording.id).records == 2)
    for command in (
        ["tasks"],
        ["logs", name, "--since", "all"],
        ["logs", name, "--since", "all", "--grep", "two", "-f"],
    ):
        assert await asyncio.to_thread(run, command) == 0, command
    out = capfd.readouterr().out
    assert (out.count("line one"), out.count("line two")) == (1, 2) and name in out
    # A Deployment has no end, so no collector begins it by itself: the reader asks for it.
    pods = pod_spec([python_container("main", "import time\nwhile True: print('served', flush=True); time.sleep(0.1)")])
    labels = {"app": api}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pods | {"restartPolicy": "Always"}},
    }
    kube.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": api}, "spec": spec})
    recording = await session.find(TaskRef("default", "deployment", api))
    async with recording.keep_wanted():
        await until(lambda: "served" in texts(session.store, recording.id))
    assert not server.ask("ACL", "LOG"), "nothing of all this is refused"


async def test_a_reader_reads_on_while_no_collector_is_there(
    session: Session, collector: Collector, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name, gate = unique("outage"), tmp_path / "gate"
    program = f"import os, time\nprint('before', flush=True)\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.02)\nprint('after')"
    kube.create(python_job(name, program))
    ref = TaskRef("default", "job", name)
    await until(lambda: (info := session.store.find(ref)) and info.last_seq and texts(session.store, info.id))
    await collector.end()
    recording = await session.find(ref)
    assert texts(session.store, recording.id) == ["before"]
    obstacle = await recording.obstacle()
    assert isinstance(obstacle, RecorderError) and "no recorder" in obstacle.message
    with pytest.raises(RecorderError):
        await recording.caught_up()
    async with recording.keep_wanted():
        collector.start()
        gate.touch()
        await until(lambda: (info := session.store.info(recording.id)) and info.done)
    assert texts(session.store, recording.id) == ["before", "after"]
    assert (await recording.caught_up()).done and await recording.obstacle() is None


async def test_a_request_for_a_task_that_does_not_exist_begins_nothing(
    server: Server,
    session: Session,
    open_as: Callable[[str], Store],
    kube: Kube,
    unique: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who has the reader's password may write any request, also one that names no task or another UID."""
    monkeypatch.setattr(session_lib, "REQUEST_S", 1.0)
    name = unique("real")
    kube.create(python_job(name, "print('line')"))
    cluster = session.cluster
    assert cluster is not None
    await until(lambda: session.store.find(TaskRef("default", "job", name)))
    number = len(session.store.recordings())
    with client(server, "reader") as one:
        for text in ("", "[]", "7", '["x", "no task!", 3]', f'["{cluster.id}", "../..:job/x", "u"]', "\xff"):
            one.zadd("cortex:requests", {text: (time.time() + 8) * 1000})
    for ref in (TaskRef("default", "job", name), TaskRef("default", "job", "no-such")):
        with pytest.raises(StoreBusy, match="no recorder has begun"):
            await session._opened(cluster.id, ref, "another-uid")
    assert len(session.store.recordings()) == number
    await until(lambda: not server.ask("ZCARD", "cortex:requests"))


async def test_readers_who_wait_for_a_recording_occupy_no_thread(
    server: Server, session: Session, unique: Callable[[str], str]
) -> None:
    """A server has few threads, and every request needs one."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    cluster = session.cluster
    assert cluster is not None
    opening = asyncio.create_task(session._opened(cluster.id, TaskRef("default", "job", unique("no-such")), "u"))
    await until(lambda: server.ask("ZCARD", "cortex:requests"))
    await asyncio.to_thread(session.store.recordings)
    assert not opening.done()
    opening.cancel()
    await asyncio.wait([opening])


def test_a_request_may_be_written_in_any_way_and_holds_for_some_seconds(
    server: Server, open_as: Callable[[str], Store]
) -> None:
    """Who has the reader's password may write it with any text and time."""
    recording_store, reader = open_as("recorder"), open_as("reader")
    recording_store.beat(recorder())
    texts = [f'["{CLUSTER}",  "ml:job/{name}", "u"]' for name in ("spaced", "for-ever", "for-long")]
    soon = (time.time() + 8) * 1000
    with client(server, "reader") as one:
        one.zadd("cortex:requests", dict(zip(texts, (soon, float("inf"), soon + 60_000), strict=True)))
    (request,) = recording_store.requests(CLUSTER)
    assert (request.ref.name, request.uid) == ("spaced", "u")
    recording_store.drop_request(request)
    assert not recording_store.requests(CLUSTER)
    assert reader.request(CLUSTER, TaskRef("ml", "job", "new"), "u")
    (request,) = recording_store.requests(CLUSTER)
    assert request.ref.name == "new" and server.ask("ZCARD", "cortex:requests") == 1


async def test_a_slow_answer_about_a_request_delays_no_task(
    server: Server,
    session: Session,
    kube: Kube,
    unique: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, asked = unique("beside"), asyncio.Event()

    async def hang(*_: object) -> None:
        asked.set()
        await asyncio.sleep(3600)

    monkeypatch.setattr(recorder_lib, "resolve", hang)
    monkeypatch.setattr(recorder_lib, "_LOOKUP_S", 3600.0)
    assert session.cluster is not None
    assert session.store.request(session.cluster.id, TaskRef("default", "deployment", "slow"), "u")
    await asked.wait()
    kube.create(python_job(name, "print('line')"))
    ref = TaskRef("default", "job", name)
    await until(lambda: (info := session.store.find(ref)) and texts(session.store, info.id) == ["line"])


async def test_a_request_that_the_collector_may_not_serve_is_looked_up_once_in_a_while(
    server: Server, session: Session, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups, passes = list[object](), list[object]()
    find = collector.store.requests

    async def refuse(_: object, ref: TaskRef) -> None:
        lookups.append(ref)
        raise NotAllowed("you may not read it")

    def requests(cluster: str) -> Any:
        found = find(cluster)
        passes.extend(found)
        return found

    monkeypatch.setattr(recorder_lib, "resolve", refuse)
    monkeypatch.setattr(recorder_lib, "_REFUSED_S", 3600.0, raising=False)
    monkeypatch.setattr(collector.store, "requests", requests)
    assert session.cluster is not None
    ref = TaskRef("default", "deployment", "forbidden")
    cluster = session.cluster.id
    await until(lambda: session.store.request(cluster, ref, "u") and len(passes) > 5)
    assert lookups == [ref]
