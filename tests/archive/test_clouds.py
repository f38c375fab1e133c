from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from archive.clouds import COMPACT, WHOLE, Cloud, Clouds
from archive.made import archived, lively
from support.filled import Filled

import cortex_jupyter as cortex
from cortex_jupyter.archive import layout, manifest_cache, objects
from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.objects import ObjectStore
from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.cli.command_line import run
from cortex_jupyter.cli.doctor import archive as doctor
from cortex_jupyter.errors import ArchiveDamaged, ArchiveError, ArchiveNotFound
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.pages import newest
from cortex_jupyter.tables.lazy import lazy
from cortex_jupyter.tables.parquet import to_parquet
from cortex_jupyter.tables.read import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cortex_jupyter.archive.recording import ArchivedRecording
    from cortex_jupyter.store import Store


compact = pytest.mark.parametrize("cloud", COMPACT, indirect=True)


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    with Clouds(tmp_path_factory.mktemp("clouds")) as found:
        yield found


@pytest.fixture(params=WHOLE)
def cloud(clouds: Clouds, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    monkeypatch.setattr(objects, "_PATIENCE_S", 2)
    with clouds.cloud(request.param) as found:
        for name, value in found.env.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def url(cloud: Cloud, request: pytest.FixtureRequest) -> str:
    return f"{cloud.url}/{abs(hash(request.node.name))}"


@compact
def test_an_archive_in_a_bucket_is_read_like_the_recording(cloud: Cloud, url: str, filled: Filled) -> None:
    archived(lively(filled), url)
    store, query = ArchiveStore(url), LogQuery.parse({})
    info = store.find(filled.ref)
    assert info is not None and [i.id for i in store.recordings("ml")] == [info.id]
    assert read(store, info.id, query).equals(read(filled.store, filled.id, query))
    assert newest(store, info.id, limit=100) == newest(filled.store, filled.id, limit=100)
    assert store.entry(info.id, 5) is not None and cloud.gate.requests


@compact
def test_an_archived_file_can_be_opened_and_downloaded_by_its_path(
    cloud: Cloud, url: str, store: Store, tmp_path: Path
) -> None:
    filled = lively(Filled(store, "app=x,tier in (ü)", "ml"), 600)
    archive, held = archived(filled, f"{url}/a b")
    log = cortex.open(held.file.path)
    whole = read(store, filled.id, LogQuery.parse({}))
    assert held.file.path.startswith(f"{url}/a b/ml/job/app%3Dx%2C") and log.to_arrow().equals(whole)
    assert log.to_polars(lazy=True).collect().equals(pl.from_arrow(whole))
    to_parquet(archive, filled.id, LogQuery.parse({}), tmp_path / "logs.parquet")
    assert cortex.open(tmp_path / "logs.parquet").to_arrow().equals(whole)
    ObjectStore(url).put("old run.log", b"INFO one\nERROR two\n")
    assert [r.text for r in cortex.open(f"{url}/old run.log").filter(level="error")] == ["ERROR two"]
    with pytest.raises(ArchiveNotFound):
        cortex.open(f"{url}/none.log")


@compact
def test_two_processes_archive_the_same_recording(cloud: Cloud, url: str, filled: Filled) -> None:
    lively(filled, 3000)
    whole, met = read(filled.store, filled.id, LogQuery.parse({})), Barrier(3)

    def write() -> None:
        met.wait()
        archived(filled, url)

    def watch() -> list[int]:
        met.wait()
        while not (found := ArchiveStore(url).recordings()):
            pass
        return [len(read(ArchiveStore(url), one.id, LogQuery.parse({}))) for one in found]

    with ThreadPoolExecutor(3) as pool:
        writers, seen = [pool.submit(write), pool.submit(write)], pool.submit(watch)
        assert seen.result() == [len(whole)]
        for writer in writers:
            writer.result()
    assert [name.rpartition(".")[2] for name, _ in ObjectStore(url).list_objects("ml/job/")] == ["json", "parquet"]
    assert read(ArchiveStore(url), filled.id, LogQuery.parse({})).equals(whole)


@compact
def test_a_deletion_leaves_no_object_of_a_task_in_a_bucket(
    cloud: Cloud,
    url: str,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(manifest_cache, "should_update", lambda _: True)
    monkeypatch.setenv("KUBECONFIG", "/dev/null")
    for name, namespace in (("train-1", "ml"), ("train-2", "ml"), ("web-1", "web")):
        archived(Filled(store, name, namespace).lines([(1, 1, "x")]).end(), url)
    store.set_setting("archive", url)

    def names(prefix: str = "") -> list[str]:
        return [name for name, _ in ObjectStore(url).list_objects(prefix)]

    others = names("web/")
    assert len(names("ml/")) == 5 and len(others) == 3
    assert run(["delete", "ml:train-1", "--archive", "--store", store.url]) == 0
    objects = [row["name"].split("/")[2] for row in orjson.loads(capfd.readouterr().out)["recordings"][0]["objects"]]
    assert objects == ["train-1", "train-1"] and not names("ml/job/train-1/")
    assert [name.split("/")[2] for name in manifest_cache.load(ObjectStore(url), "ml")] == ["train-2"]
    assert run(["delete", "-n", "ml", "--archive", "--yes", "--store", store.url]) == 0
    assert names("ml/") == [] and names("web/") == others
    assert ArchiveStore(url).recordings("ml") == [] and len(ArchiveStore(url).recordings()) == 1


def test_a_window_reads_only_its_share_of_the_file(
    cloud: Cloud, url: str, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_MIN_GROUP_ROWS", 1500)
    lines = [
        (1 + i % 2, i * 1_000_000, f"2026-01-01 INFO {i:x} {hash(str(i)):x} {hash(i * 7.1):x}") for i in range(150_000)
    ]
    for start in range(0, len(lines), 2000):
        filled.lines(lines[start : start + 2000])
    _, held = archived(filled.end(), url)
    for first in (31.7, 100.0, 145.5):
        cloud.gate.requests.clear()
        query = {"since": f"2026-01-01T00:{int(first // 60):02}:{first % 60:06.3f}Z"}
        query |= {"until": f"2026-01-01T00:{int((first + 4.5) // 60):02}:{(first + 4.499) % 60:06.3f}Z"}
        store = ArchiveStore(url)
        info = store.find(filled.ref)
        assert info is not None
        rows = read(store, info.id, LogQuery.parse(query))
        assert len(rows) == 4500
        footer = held.about["footer"]
        data = (
            sum(size for _, path, size in cloud.gate.requests if path.partition("?")[0].endswith(".parquet")) - footer
        )
        assert data <= 1.4 * held.file.size * len(rows) / len(lines)
        assert len(cloud.gate.requests) <= 5


@compact
@pytest.mark.parametrize(("fault", "times"), [("503", 2), ("cut", 1)])
def test_temporary_failures_are_retried(cloud: Cloud, url: str, filled: Filled, fault: str, times: int) -> None:
    cloud.gate.fault, cloud.gate.times = fault, times
    _, held = archived(lively(filled, 600), url)
    assert cloud.gate.times == 0
    cloud.gate.times = times
    assert len(read(ArchiveStore(url), held.info.id, LogQuery.parse({}))) == 650


@compact
@pytest.mark.parametrize("first", [True, False])
def test_an_answer_that_ends_early(cloud: Cloud, url: str, filled: Filled, first: bool) -> None:
    _, held = archived(lively(filled, 600), url)
    store = ArchiveStore(url)
    if not first:
        assert store.find(filled.ref) is not None
    cloud.gate.fault, cloud.gate.times = "short", 1
    assert len(read(store, held.info.id, LogQuery.parse({}))) == 650
    assert cloud.gate.times == 0


@compact
@pytest.mark.parametrize("fault", ["503", "cut"])
def test_lasting_failures_are_errors_and_the_recording_stays(
    cloud: Cloud, url: str, filled: Filled, fault: str
) -> None:
    lively(filled, 600)
    cloud.gate.fault = fault
    with pytest.raises(ArchiveError, match=f"{cloud.url}/.* cannot be"):
        archived(filled, url)
    cloud.gate.fault = ""
    assert ArchiveStore(url).recordings() == [] and filled.store.complete(filled.id).records == 650
    archived(filled, url)
    assert len(ArchiveStore(url).recordings()) == 1


@compact
def test_a_refusal_says_what_to_check(cloud: Cloud, url: str, filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cloud.others.items():
        monkeypatch.setenv(name, value)
    place = ObjectStore(url)
    tries: dict[str, Callable[[], object]] = {
        "read": lambda: archived(lively(filled, 300), url),
        "written": lambda: place.put("x", b"x"),
        "written ": lambda: place.put("x", lambda: [bytes(100)]),
        "listed": lambda: ArchiveStore(url).recordings(),
        "read ": lambda: place.size("x"),
        "deleted": lambda: place.delete("x"),
    }
    for what, tried in tries.items():
        with pytest.raises(
            ArchiveError, match=f"{cloud.url}/.* cannot be {what.strip()}, access is refused: "
        ) as caught:
            tried()
        assert cloud.names in caught.value.hint
    assert len(cloud.gate.requests) == len(tries)  # a refusal is not retried
    assert filled.store.complete(filled.id).records == 350


# Any two words may be credentials of S3.
@pytest.mark.parametrize("cloud", [kind for kind in COMPACT if kind != "s3"], indirect=True)
def test_missing_credentials_are_reported(cloud: Cloud, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cloud.names, "/no/file/and/no/base64!")
    with pytest.raises(ArchiveError, match=f"'{url}' cannot be an archive: ") as caught:
        ObjectStore(url)
    assert cloud.names in caught.value.hint and not cloud.gate.requests


def test_a_bucket_that_does_not_exist(cloud: Cloud, filled: Filled) -> None:
    if cloud.url.startswith(("s3", "gs")):
        pytest.skip("SeaweedFS makes a bucket that is written to, or refuses it to who has no key")
    url = f"{cloud.url}-else/x"
    with pytest.raises(ArchiveError, match=f"{url}/.* cannot be written: .* answers 404 "):
        archived(lively(filled, 300), url)
    with pytest.raises(ArchiveError, match=f"{url}/ cannot be listed: .* answers 404 ") as caught:
        ArchiveStore(url).recordings()
    assert "address" in caught.value.hint


@compact
def test_an_object_that_was_deleted_cut_off_or_replaced(cloud: Cloud, url: str, filled: Filled, tmp_path: Path) -> None:
    _, held = archived(lively(filled, 3000), url)
    place, name = ObjectStore(url), held.file.name
    whole = place.get(name)

    def fresh() -> None:
        found = Catalog(ObjectStore(url)).by_id(filled.id)
        assert found is not None
        found.entry(1)

    place.put(name, whole[: len(whole) // 2])
    with pytest.raises(ArchiveDamaged, match="cut off"):
        fresh()
    pq.write_table(pa.table({"x": list(range(100_000))}), tmp_path / "foreign.parquet")
    place.put(name, (tmp_path / "foreign.parquet").read_bytes())
    with pytest.raises(ArchiveDamaged):
        fresh()
    place.delete(name)
    with pytest.raises(ArchiveNotFound, match="does not exist"):
        fresh()
    assert cloud.gate.requests and filled.store.complete(filled.id).records == 3050


@pytest.mark.parametrize("url_", ["ftp://x/y", "s3://", "nonsense://"])
def test_a_wrong_address(url_: str) -> None:
    with pytest.raises(ArchiveError, match="cannot be an archive"):
        ObjectStore(url_)


def copies(held: ArchivedRecording, url: str, which: range, namespace: str = "many") -> list[str]:
    """Write manifests of tasks without files, with an hour each, one after the other, the 100th with an error."""
    place, names = ObjectStore(url), []
    for i in which:
        about = held.about | {
            "id": held.info.id + i + 1,
            "first": 3_600 * 10**9 * i,
            "last": 3_600 * 10**9 * (i + 1) - 1,
        }
        about |= {"ref": {"namespace": namespace, "kind": "job", "name": f"run-{i}"}}
        about |= {"levels": {"info": 5, "error": int(i == 100)}}
        names.append(f"{namespace}/job/run-{i}/{about['id']}.json")
        place.put(names[-1], orjson.dumps(about))
    return names


def test_many_tasks_are_listed_with_few_requests(
    cloud: Cloud, url: str, filled: Filled, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, held = archived(lively(filled, 300), url)
    copies(held, url, range(120))
    Catalog(ObjectStore(url)).refresh_manifest_cache("many")
    copies(held, url, range(120, 125))  # came later
    monkeypatch.setenv("CORTEX_ARCHIVE", url)
    monkeypatch.setenv("CORTEX_STORE", f"sqlite:///{tmp_path / 'none.sqlite'}")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    cloud.gate.requests.clear()
    engine = cortex.logs.__globals__["runtime"]
    try:
        hours = {"since": "1970-01-03T02:30:00Z", "until": "1970-01-03T03:30:00Z"}
        assert [log.task for log in cortex.scan(namespace="many", **hours).logs] == [
            "many:job/run-51",
            "many:job/run-50",
        ]
        assert [log.task for log in cortex.scan(namespace="many", level="error").logs] == ["many:job/run-100"]
    finally:
        engine().close()
        engine.__globals__["_current"] = None
    asked = [path for _, path, _ in cloud.gate.requests]
    # Two lists, the cache, and the five new manifests: no file, and no manifest twice.
    assert len(asked) == 8 and not any(".parquet" in path for path in asked)
    # Azure's lists are more than twice as long for each object.
    assert sum(size for _, _, size in cloud.gate.requests) < (130_000 if cloud.url[:2] != "az" else 200_000)


def test_cached_manifests_count_only_while_their_tags_match(cloud: Cloud, url: str, filled: Filled) -> None:
    _, held = archived(lively(filled, 300), url)
    names, place = copies(held, url, range(8)), ObjectStore(url)
    kept = f"many/{manifest_cache.NAME}"

    def known() -> dict[str, int]:
        return {one.info.ref.name: one.about["size"] for one in Catalog(ObjectStore(url)).all("many")}

    whole = known()
    Catalog(ObjectStore(url)).refresh_manifest_cache("many")
    assert known() == whole and len(whole) == 8
    before = place.get(kept)
    place.delete(names[3])  # an object that is not listed does not exist
    place.put(names[4], orjson.dumps(orjson.loads(place.get(names[4])) | {"size": 7}))  # archived again
    now = {name: size for name, size in whole.items() if name != "run-3"} | {"run-4": 7}
    assert known() == now
    Catalog(ObjectStore(url)).refresh_manifest_cache("many")
    assert known() == now
    for damaged in (
        before,
        before[:50],
        b"",
        b"no zstd",
        zstandard.compress(b'{"version": 9}'),
        zstandard.compress(b"[]"),
    ):
        place.put(kept, damaged)  # an older cache by a slower process, or anything else
        assert known() == now
    place.delete(kept)
    assert known() == now and cloud.gate.requests
    Catalog(ObjectStore(url)).refresh_manifest_cache("many")
    cloud.gate.requests.clear()
    assert known() == now and len(cloud.gate.requests) == 2


def test_archiving_refreshes_the_manifest_cache_sometimes(
    cloud: Cloud, url: str, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_cache, "_UPDATE_INTERVAL", 1)
    archived(lively(filled, 300), url)
    assert list(manifest_cache.load(ObjectStore(url), "ml")) == [f"ml/job/train-1/{filled.id}.json"]
    cloud.gate.fault = "503"
    assert manifest_cache.load(ObjectStore(url), "ml") == {}  # listing works without it
    cloud.gate.fault = ""
    assert sum(manifest_cache.should_update(id_ * 32_768 + 5) for id_ in range(1000)) == 1000
    monkeypatch.setattr(manifest_cache, "_UPDATE_INTERVAL", 32)
    due = sum(manifest_cache.should_update(id_ * 32_768 + 5) for id_ in range(1000))
    assert 20 < due < 45  # for all kinds of ids


def test_a_lazy_frame_reads_only_what_its_filter_needs(
    cloud: Cloud, url: str, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "_MIN_GROUP_ROWS", 2000)
    lines = [(1 + i % 2, i * 1_000_000, f"2026-01-01 INFO {i:x} {hash(str(i)):x}") for i in range(40_000)]
    for start in range(0, len(lines), 2000):
        filled.lines(lines[start : start + 2000])
    _, held = archived(filled.end(), url)
    frame = lazy(ArchiveStore(url), held.info.id, LogQuery.parse({}))
    whole = pl.from_arrow(read(filled.store, filled.id, LogQuery.parse({})))
    cloud.gate.requests.clear()
    few = frame.filter(pl.col("seq").is_between(7000, 7010)).select("seq", "message").collect()
    assert few.equals(whole.filter(pl.col("seq").is_between(7000, 7010)).select("seq", "message"))
    asked = sum(size for _, path, size in cloud.gate.requests if ".parquet" in path)
    # polars reads 256 KiB of a file's end for the footer, whatever the file's size.
    assert asked - (1 << 18) < held.file.size / 8
    assert frame.collect().equals(whole)


def test_the_doctor_tries_the_permissions_in_a_bucket(
    cloud: Cloud, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CORTEX_ARCHIVE", url)
    (found,) = doctor.judge("")
    assert found.judged == "ok" and list(ObjectStore(url).list_objects()) == []
    for name, value in cloud.others.items():
        monkeypatch.setenv(name, value)
    (found,) = doctor.judge("")
    assert found.judged == "bad" and "cannot be written, access is refused" in found.text and cloud.names in found.todo
