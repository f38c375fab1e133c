from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive.made import archived, lively

from cortex_jupyter.archive import layout, order
from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.file import ParquetFile
from cortex_jupyter.archive.objects import ObjectStore
from cortex_jupyter.archive.order import sort_pieces
from cortex_jupyter.archive.recording import ArchivedRecording
from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.errors import ArchiveDamaged, ArchiveNotFound, ArchiveTooNew, CursorNotHeld, StoreUnreachable
from cortex_jupyter.model import Batch, Cursor, TaskRef
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.reader.outline import outline
from cortex_jupyter.reader.pages import following, newest
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.trimming import trim
from cortex_jupyter.tables.ordered import is_time_ordered
from cortex_jupyter.tables.ordered import ordered as records
from cortex_jupyter.tables.read import count, read, stored_pieces

if TYPE_CHECKING:
    from pathlib import Path

    from support.filled import Filled

    from cortex_jupyter.model import Entry

QUERIES: list[dict[str, object]] = [
    {},
    {"tail": 700},
    {"level": "warning"},
    {"grep": "loss=0.4.*1"},
    {"grep": "step 12"},
    {"exclude": "INFO"},
    {"pod": "train-1-a*", "level": "info"},
    {"since": "2026-01-01T00:00:00.2Z"},
    {"container": "prepare"},
    {"run": 1},
    {"run": "*/main/0,*/prepare/-1", "grep": "step"},
    {"since": "2026-01-01T00:00:00.1Z", "until": "2026-01-01T00:00:00.3Z", "grep": "é|no"},
    {"where": "n>4000"},
]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make many row groups and blocks from a few thousand lines."""
    monkeypatch.setattr(layout, "_MIN_GROUP_ROWS", 1000)
    monkeypatch.setattr(layout, "BLOCK_RECORDS", 700)


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_a_frame_of_the_archive_equals_that_of_the_recording(
    filled: Filled, tmp_path: Path, query: dict[str, object]
) -> None:
    store, held = archived(lively(filled), str(tmp_path / "archive"))
    parsed = LogQuery.parse(query).among(store, held.info.id)
    ours, theirs = read(store, held.info.id, parsed), read(filled.store, filled.id, parsed)
    assert len(ours) and ours.equals(theirs)
    assert ours.schema.metadata == theirs.schema.metadata
    if not query:
        assert ours["seq"].to_pylist() == [r.seq for r in records(store, held.info.id, parsed)]
        assert held.file.metadata.num_row_groups == 10


@pytest.mark.parametrize("times", ["in order", "backwards"])
def test_records_and_counts_of_the_archive_equal_those_of_the_recording(
    filled: Filled, tmp_path: Path, times: str
) -> None:
    if times == "backwards":
        lively(filled)
    else:
        filled.lines(
            [(1 + i % 3, i * 1_000_000, f"2026-01-01 12:00:00 INFO step {i} é no loss=0.4{i}") for i in range(4_000)]
        )
        filled.notice("status", "on").lines([(2, 5_000_000_000, '{"level":"warn","n":5000}')]).end()
    store, held = archived(filled, str(tmp_path / "archive"))
    assert is_time_ordered(held) is (times == "in order")
    for query in [*QUERIES, {"grep": ["step", "9"], "exclude": "99"}, {"grep": "nowhere"}, {"grep": "9", "tail": 3}]:
        parsed = LogQuery.parse(query).among(store, held.info.id)
        theirs = list(records(filled.store, filled.id, parsed))
        assert list(records(store, held.info.id, parsed)) == theirs
        assert count(store, held.info.id, parsed) == len(theirs)


@pytest.mark.parametrize("query", [{}, {"grep": "loss"}, {"level": "error"}], ids=str)
def test_pages_of_the_archive_equal_those_of_the_recording(
    filled: Filled, tmp_path: Path, query: dict[str, object]
) -> None:
    store, _ = archived(lively(filled), str(tmp_path / "archive"))
    keep = LogQuery.parse(query).keep()
    before, after = None, Cursor(0, 0)
    for _ in range(100):
        pages = [newest(s, filled.id, limit=977, before=before, keep=keep) for s in (store, filled.store)]
        assert pages[0] == pages[1]
        if (before := pages[0].older) is None:
            break
    seqs = []
    for _ in range(100):
        pages = [following(s, filled.id, after=after, limit=977, keep=keep) for s in (store, filled.store)]
        seqs += [[r.seq for r in p.records] for p in pages]
        assert pages[0].records == pages[1].records and pages[0].notices == pages[1].notices
        if pages[0].newer is None:
            break
        after = pages[0].newer
    assert pages[0].newer is None and sum(map(len, seqs[::2])) == sum(map(len, seqs[1::2])) > 0


def test_entries_have_no_holes_and_hold_all_records(filled: Filled, tmp_path: Path) -> None:
    store, held = archived(lively(filled.update(masked={"E-mail": 2})), str(tmp_path / "archive"))
    at, rows = 0, {}
    while entries := store.entries(filled.id, at, 100_000):
        for entry in entries:
            assert entry.seq == at + 1
            at = entry.last
            if entry.event == "log":
                batch = Batch.decode(entry.data)
                assert (min(batch.times), max(batch.times)) == (entry.t_min, entry.t_max)
                rows |= {
                    s: (t, batch.sources[i], o, m)
                    for s, t, i, o, m in zip(
                        batch.seqs, batch.times, batch.sids, batch.streams, batch.texts, strict=True
                    )
                }
    assert at == held.info.last_seq
    known = {}
    for entry in filled.store.entries(filled.id, 0, 1 << 30):
        if entry.event == "log":
            batch = Batch.decode(entry.data)
            known |= {
                s: (t, batch.sources[i], o, m)
                for s, t, i, o, m in zip(batch.seqs, batch.times, batch.sids, batch.streams, batch.texts, strict=True)
            }
        else:
            assert store.entry(filled.id, entry.seq) == entry
    assert rows == known
    assert store.info(filled.id) == replace(filled.store.info(filled.id), caught_up=True)
    assert store.complete(filled.id) == filled.store.complete(filled.id)
    assert outline(store, filled.id, 50).records == outline(filled.store, filled.id, 50).records


def test_the_notice_of_trimmed_lines_is_archived(filled: Filled, tmp_path: Path) -> None:
    for i in range(50):
        filled.lines([(1, i, f"{i} " + os.urandom(2000).hex())])
    filled.store.set_budget(Budget(max_task_bytes=30_000))
    assert trim(filled.store, {filled.id: (filled.lease, filled.ref.key)})
    store, _ = archived(filled.end(), str(tmp_path / "archive"))
    gap, *_ = filled.store.entries(filled.id, 0, 1)
    assert gap.event == "gap" and 30 < gap.n < 40
    for after in (0, gap.n // 2, gap.n - 1):
        assert store.entries(filled.id, after, 1) == [gap] and store.entry(filled.id, after + 1) == gap
    assert store.complete(filled.id) == filled.store.complete(filled.id)
    ours, theirs = (read(one, filled.id, LogQuery.parse({})) for one in (store, filled.store))
    assert ours.to_pylist() == theirs.to_pylist() and ours.schema.metadata == theirs.schema.metadata
    assert orjson.loads(ours.schema.metadata[layout.STATEMENT])["gaps"] == [orjson.loads(gap.data)]
    since = gap.t_max - 3
    pages = [newest(one, filled.id, limit=1000, since=since) for one in (store, filled.store)]
    assert pages[0] == pages[1] and pages[0].notices == [orjson.loads(gap.data)]


@pytest.mark.parametrize("what", ["nothing", "only notices"])
def test_a_log_without_lines(filled: Filled, tmp_path: Path, what: str) -> None:
    if what == "only notices":
        filled.notice("status", "waiting")
    store, held = archived(filled.end(), str(tmp_path / "archive"))
    assert held.complete.records == 0 and len(read(store, filled.id, LogQuery.parse({}))) == 0
    assert read(store, filled.id, LogQuery.parse({})).equals(read(filled.store, filled.id, LogQuery.parse({})))
    assert newest(store, filled.id, limit=5) == newest(filled.store, filled.id, limit=5)


def test_other_programs_can_read_the_file(filled: Filled, tmp_path: Path) -> None:
    _, held = archived(lively(filled), str(tmp_path / "archive"))
    table = pq.read_table(held.file.path)
    assert table.num_rows == 9050
    said = orjson.loads(table.schema.metadata[layout.STATEMENT])
    assert said["records"] == 9050 and said["done"] and said["gaps"][0]["reason"] == "rotated away"
    times = held.file.statistics("time")
    assert all(times) and held.file.statistics("text") == [None] * len(times)


def test_archiving_twice_does_nothing_and_repairs_a_missing_manifest(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lively(filled, 600)
    url = str(tmp_path / "archive")
    put, calls, dies_at = ObjectStore.put, [], [0]

    def dies(self: ObjectStore, name: str, content: Any, **options: bool) -> bool:
        calls.append(name)
        if len(calls) == dies_at[0]:
            raise KeyboardInterrupt
        return put(self, name, content, **options)

    monkeypatch.setattr(ObjectStore, "put", dies)
    for place in (1, 2):  # before the file is there, and between file and manifest
        calls.clear()
        dies_at[0] = place
        with pytest.raises(KeyboardInterrupt):
            archived(filled, url)
        assert Catalog(ObjectStore(url)).all() == [] and Catalog(ObjectStore(url)).by_id(filled.id) is None
    dies_at[0] = 0
    store, held = archived(filled, url)
    assert store.info(filled.id) == replace(filled.store.info(filled.id), caught_up=True)
    calls.clear()
    assert archived(filled, url)[1].about == held.about and not calls


def test_archiving_needs_no_other_disk(filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector's pod has hardly any disk, and is evicted if it fills it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    store, held = archived(lively(filled), str(tmp_path / "archive"))
    assert len(read(store, held.info.id, LogQuery.parse({}))) == store.complete(held.info.id).records


def test_a_failure_in_the_middle_leaves_the_archive_unchanged(filled: Filled, tmp_path: Path) -> None:
    url = str(tmp_path / "archive")
    _, held = archived(lively(filled), url)
    names = ObjectStore(url).list_objects()

    class GoesAway:
        """The store is away when half of the entries have been read."""

        def __getattr__(self, name: str) -> Any:
            return getattr(filled.store, name)

        def entries(self, recording: int, after: int, max_bytes: int) -> list[Entry]:
            if after > filled.next // 2:
                raise StoreUnreachable("the store is away")
            return filled.store.entries(recording, after, max_bytes // 64)

    with pytest.raises(StoreUnreachable):
        Catalog(ObjectStore(url)).put(GoesAway(), filled.id, overwrite=True)  # type: ignore[arg-type]
    assert ObjectStore(url).list_objects() == names and [*(tmp_path / "archive").rglob("*#*")] == []
    fresh = Catalog(ObjectStore(url)).by_id(filled.id)
    assert fresh is not None and fresh.file.metadata.num_rows == held.file.metadata.num_rows


def test_lookups(filled: Filled, tmp_path: Path) -> None:
    store, _ = archived(lively(filled, 300), str(tmp_path / "archive"))
    again = Catalog(ObjectStore(str(tmp_path / "archive")))
    bare = type(filled.ref)("ml", "", "train-1")
    assert store.find(filled.ref) == store.find(bare, "test") == again.find(bare).info
    assert (
        store.find(filled.ref, "other cluster") is None and store.find(type(filled.ref)("ml", "pod", "train-1")) is None
    )
    assert [i.id for i in store.recordings("ml")] == [filled.id] and store.recordings("other") == []
    with pytest.raises(CursorNotHeld):
        store.index(7)


@pytest.mark.parametrize("cut", [0, 3, 20, -1, -2000])
def test_a_file_that_was_cut_off_is_reported(filled: Filled, tmp_path: Path, cut: int) -> None:
    _, held = archived(lively(filled), str(tmp_path / "archive"))
    path = held.file.objects.folder / held.file.name
    path.write_bytes(path.read_bytes()[:cut])
    fresh = Catalog(ObjectStore(str(tmp_path / "archive"))).by_id(filled.id)
    with pytest.raises((ArchiveDamaged, ArchiveNotFound), match=r"cut off|cannot be read"):
        fresh.entry(1)


@pytest.mark.parametrize("seed", range(4))
def test_sorting_pieces_equals_sorting_at_once(filled: Filled, seed: int) -> None:
    lively(filled, 2000, seed)
    whole = read(filled.store, filled.id, LogQuery.parse({}))["seq"].to_pylist()
    found = list(stored_pieces(filled.store, filled.id, LogQuery.parse({})))
    assert [s for piece, _ in found for s in piece["seq"].to_pylist()] == whole
    assert all(sure for _, sure in found)


def test_waiting_rows_are_limited_and_the_loss_of_order_is_reported(filled: Filled) -> None:
    pieces = [
        (pa.table({"time": range(i, i + 10), "seq": range(i, i + 10), "source": [1] * 10}), -1)
        for i in range(0, 100, 10)
    ]
    found = list(sort_pieces(pieces, limit=20))
    assert [s for p, _ in found for s in p["seq"].to_pylist()] == list(range(100))
    assert not all(sure for _, sure in found) and max(len(p) for p, _ in found) <= 30
    assert order.MAX_WAITING > 20


def test_recordings_of_a_newer_layout_are_refused_and_others_read(
    filled: Filled, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, held = archived(lively(filled, 600), str(tmp_path / "archive"))
    manifest = tmp_path / "archive" / (held.file.name.removesuffix(".parquet") + ".json")
    other = manifest.parents[1] / "other" / "7.json"
    other.parent.mkdir()
    doc = orjson.loads(manifest.read_bytes())
    ref = TaskRef(**doc["ref"] | {"name": "other"})
    other.write_bytes(orjson.dumps({"version": layout.VERSION + 1, "what": "nobody knows yet"}))
    manifest.write_bytes(orjson.dumps(doc | {"what": "a key more harms none"}))
    store = ArchiveStore(store.url)
    assert [info.id for info in store.recordings()] == [held.info.id] and "newer version" in caplog.text
    assert store.complete(held.info.id) == held.complete
    for ask in (lambda: store.find(ref), lambda: store.find(replace(ref, kind="")), lambda: store.entries(7, 0, 1)):
        with pytest.raises(ArchiveTooNew, match="layout 2, here 1") as caught:
            ask()
        assert "update cortex-jupyter" in caught.value.hint
    other.write_bytes(manifest.read_bytes())  # written again by a known version
    assert len(store.recordings()) == 2


def test_an_archive_with_keys_of_a_newer_version_is_read(filled: Filled, tmp_path: Path) -> None:
    store, held = archived(lively(filled, 600), str(tmp_path / "archive"))
    known = held.info, held.complete, held.sources, list(held.entries(0, 1 << 30))
    path = tmp_path / "archive" / held.file.name
    with pq.ParquetFile(path) as file:
        groups = [file.read_row_group(i) for i in range(file.num_row_groups)]
        metadata = dict(file.metadata.metadata)
    about = orjson.loads(metadata[layout.RECORDING_INFO])
    about |= {"new": 1, "ref": about["ref"] | {"new": 1}}
    about["sources"] = [source | {"new": 1} for source in about["sources"]]
    metadata[layout.RECORDING_INFO] = orjson.dumps(about)
    with pq.ParquetWriter(path, groups[0].schema.with_metadata(None), **layout.writer_options()) as writer:
        for group in groups:
            writer.write_table(group, row_group_size=len(group))
        writer.add_key_value_metadata({key: value for key, value in metadata.items() if key != b"ARROW:schema"})
    content, manifest = path.read_bytes(), path.with_suffix(".json")
    doc = orjson.loads(manifest.read_bytes())
    doc |= {"new": 1, "ref": doc["ref"] | {"new": 1}}
    doc |= {"size": len(content), "footer": int.from_bytes(content[-8:-4], "little") + 8}
    manifest.write_bytes(orjson.dumps(doc))
    by_manifest = Catalog(ObjectStore(store.url)).by_id(filled.id)
    assert by_manifest is not None
    for read_again in (by_manifest, ArchivedRecording(ParquetFile(ObjectStore(store.url), held.file.name))):
        entries = list(read_again.entries(0, 1 << 30))
        assert (read_again.info, read_again.complete, read_again.sources, entries) == known
    everything = LogQuery.parse({})
    assert read(ArchiveStore(store.url), filled.id, everything).equals(read(filled.store, filled.id, everything))


def test_a_new_archive_folder_is_private_and_existing_folders_keep_their_mode(filled: Filled, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    mine.chmod(0o755)
    before = os.umask(0o022)
    try:
        _, held = archived(lively(filled, 600), str(mine / "new" / "archive"))
    finally:
        os.umask(before)
    assert mine.stat().st_mode & 0o777 == 0o755
    below = [*(mine / "new").rglob("*")]
    modes = {path.relative_to(mine).as_posix(): path.stat().st_mode & 0o777 for path in [mine / "new", *below]}
    assert len(below) == 6 and held.file.name.endswith(".parquet")
    assert {
        name: oct(mode) for name, mode in modes.items() if mode != (0o700 if (mine / name).is_dir() else 0o600)
    } == {}


@pytest.mark.parametrize(
    ("mode", "folders", "files"),
    [(0o700, 0o700, 0o600), (0o2750, 0o2750, 0o640), (0o2770, 0o2770, 0o640), (0o1777, 0o1777, 0o644)],
)
def test_users_who_may_read_the_archive_folder_may_read_its_files(
    filled: Filled, tmp_path: Path, mode: int, folders: int, files: int
) -> None:
    """An administrator makes the folder for a team, whose readers are other users than the collector."""
    team = tmp_path / "team"
    team.mkdir()
    team.chmod(mode)
    before = os.umask(0o077)
    try:
        _, held = archived(lively(filled, 600), str(team))
    finally:
        os.umask(before)
    below = [*team.rglob("*")]
    assert len(below) == 5 and held.file.name.endswith(".parquet")
    assert {oct(path.stat().st_mode & 0o7777) for path in [team, *below] if path.is_dir()} == {oct(folders)}
    assert {oct(path.stat().st_mode & 0o7777) for path in below if path.is_file()} == {oct(files)}


_FOREIGN = {
    "foreign": b'{"hello": "world"}',
    "a list": b"[1, 2]",
    "no JSON": b"\x00\x01",
    "empty": b"",
    "cut off": None,
    "of another form": b'{"version": "one", "file": "x", "size": 1, "footer": 1}',
}


@pytest.mark.parametrize("what", _FOREIGN)
def test_foreign_and_damaged_manifests_are_named_and_others_read(
    filled: Filled, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    store, held = archived(lively(filled, 600), str(tmp_path / "archive"))
    manifest = tmp_path / "archive" / (held.file.name.removesuffix(".parquet") + ".json")
    broken = manifest.parents[1] / "other" / "7.json"
    broken.parent.mkdir()
    content = _FOREIGN[what]
    broken.write_bytes(manifest.read_bytes()[:300] if content is None else content)
    store = ArchiveStore(store.url)
    for ask in (
        lambda: [info.id for info in store.recordings()] == [held.info.id],
        lambda: [info.id for info in store.recordings("ml")] == [held.info.id],
        lambda: store.find(TaskRef("ml", "job", "other")) is None,
        lambda: store.info(7) is None,
    ):
        caplog.clear()
        assert ask()
        assert "ml/job/other/7.json" in caplog.text and "is left out" in caplog.text
    broken.write_bytes(manifest.read_bytes())
    caplog.clear()
    assert len(store.recordings()) == 2 and caplog.text == ""


def test_a_damaged_manifest_of_ours_is_written_again(filled: Filled, tmp_path: Path) -> None:
    url = str(tmp_path / "archive")
    _, held = archived(lively(filled, 600), url)
    manifest = tmp_path / "archive" / (held.file.name.removesuffix(".parquet") + ".json")
    manifest.write_bytes(manifest.read_bytes()[:100])
    assert Catalog(ObjectStore(url)).all() == []
    assert archived(filled, url)[1].about == held.about
    assert [one.about for one in Catalog(ObjectStore(url)).all()] == [held.about]


def test_a_recording_is_found_again_after_its_file_was_missing_once(
    filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket may answer 404 in passing, and an old version of a manifest may be restored with its old tag."""
    _, held = archived(lively(filled, n=300), str(tmp_path))
    reader = ArchiveStore(str(tmp_path))
    assert reader.info(filled.id) is not None
    with monkeypatch.context() as patch:

        def missing(*_: object) -> bytes:
            raise ArchiveNotFound(f"{held.file.path} does not exist")

        patch.setattr(ObjectStore, "range", missing)
        with pytest.raises(CursorNotHeld):
            reader.entries(filled.id, 0, 1 << 20)
    assert [info.id for info in reader.recordings()] == [filled.id]
    assert reader.entries(filled.id, 0, 1 << 20)
    catalog = Catalog(ObjectStore(str(tmp_path)))
    (recording,) = catalog.all()
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "delete", lambda *_: None)
        for name in recording.objects:
            catalog.remove(name)
    assert len(catalog.all()) == 1
