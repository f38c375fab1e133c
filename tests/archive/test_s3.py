from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive.made import archived, lively
from archive.s3 import Gate, gate, seaweed

from cortex_jupyter.archive import layout, objects
from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.objects import Objects
from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.errors import ArchiveDamaged, ArchiveError, ArchiveNotFound
from cortex_jupyter.frames.read import read
from cortex_jupyter.parsing.query import LogQuery
from cortex_jupyter.recording.pages import newest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from frames.filled import Filled


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with seaweed(tmp_path_factory.mktemp("s3")) as port:
        yield port


@pytest.fixture
def s3(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    monkeypatch.setattr(objects, "_PATIENCE_S", 2)
    with gate(port) as made:
        for name, value in made.env.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return f"s3://logs/{abs(hash(request.node.name))}"


def test_an_archive_in_s3_is_read_like_the_recording(s3: Gate, url: str, filled: Filled) -> None:
    archived(lively(filled), url)
    store, query = ArchiveStore(url), LogQuery.parse({})
    info = store.find(filled.ref)
    assert info is not None and [i.id for i in store.recordings("ml")] == [info.id]
    assert read(store, info.id, query).equals(read(filled.store, filled.id, query))
    assert newest(store, info.id, limit=100) == newest(filled.store, filled.id, limit=100)
    assert store.entry(info.id, 5) is not None and s3.requests


def test_a_window_reads_its_share(s3: Gate, url: str, filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_GROUP", 1500)
    lines = [
        (1 + i % 2, i * 1_000_000, f"2026-01-01 INFO {i:x} {hash(str(i)):x} {hash(i * 7.1):x}") for i in range(150_000)
    ]
    for start in range(0, len(lines), 2000):
        filled.lines(lines[start : start + 2000])
    _, held = archived(filled.end(), url)
    for first in (31.7, 100.0, 145.5):
        s3.requests.clear()
        query = {"since": f"2026-01-01T00:{int(first // 60):02}:{first % 60:06.3f}Z"}
        query |= {"until": f"2026-01-01T00:{int((first + 4.5) // 60):02}:{(first + 4.499) % 60:06.3f}Z"}
        store = ArchiveStore(url)
        info = store.find(filled.ref)
        assert info is not None
        rows = read(store, info.id, LogQuery.parse(query))
        assert len(rows) == 4500
        footer = held.about["footer"]
        data = sum(size for _, path, size in s3.requests if path.partition("?")[0].endswith(".parquet")) - footer
        assert data <= 1.4 * held.file.size * len(rows) / len(lines)
        assert len(s3.requests) <= 5


@pytest.mark.parametrize(("fault", "times"), [("503", 2), ("cut", 1)])
def test_what_passes_is_tried_again(s3: Gate, url: str, filled: Filled, fault: str, times: int) -> None:
    s3.fault, s3.times = fault, times
    _, held = archived(lively(filled, 600), url)
    assert s3.times == 0 and len(read(ArchiveStore(url), held.info.id, LogQuery.parse({}))) == 650


@pytest.mark.parametrize("fault", ["503", "cut"])
def test_what_lasts_is_an_error_and_the_recording_stays(s3: Gate, url: str, filled: Filled, fault: str) -> None:
    lively(filled, 600)
    s3.fault = fault
    with pytest.raises(ArchiveError, match=r"s3://logs/.* cannot be"):
        archived(filled, url)
    s3.fault = ""
    assert ArchiveStore(url).recordings() == [] and filled.store.complete(filled.id).records == 650
    archived(filled, url)
    assert len(ArchiveStore(url).recordings()) == 1


def test_wrong_credentials_say_so(s3: Gate, url: str, filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ArchiveError, match="may not be") as caught:
        archived(lively(filled, 300), url)
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.hint and s3.requests


def test_an_object_that_was_removed_cut_off_or_replaced(s3: Gate, url: str, filled: Filled, tmp_path: Path) -> None:
    _, held = archived(lively(filled, 3000), url)
    place, name = Objects(url), held.file.name
    whole = place.get(name)

    def fresh() -> None:
        found = Catalog(Objects(url)).by_id(filled.id)
        assert found is not None
        found.entry(1)

    place.put(name, whole[: len(whole) // 2])
    with pytest.raises(ArchiveDamaged, match="cut off"):
        fresh()
    pq.write_table(pa.table({"x": list(range(100_000))}), tmp_path / "foreign.parquet")
    place.put(name, tmp_path / "foreign.parquet")
    with pytest.raises(ArchiveDamaged):
        fresh()
    place.delete(name)
    with pytest.raises(ArchiveNotFound, match="is not there"):
        fresh()
    assert s3.requests and filled.store.complete(filled.id).records == 3050


@pytest.mark.parametrize("url_", ["ftp://x/y", "s3://", "nonsense://"])
def test_an_address_that_is_none(url_: str) -> None:
    with pytest.raises(ArchiveError, match="no place for an archive"):
        Objects(url_)
