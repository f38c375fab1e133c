"""An administrator deletes recordings: from store and archive, with a receipt and an audit trail, and never by halves."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from cli.conftest import job
from support.filled import Filled
from support.hand import Hand, on_sqlite, recorder, until
from support.stores import new_store, pytest_generate_tests, server_of, store, valkey_server
from support.valkey import Server

from cortex_jupyter.archive import archiver, manifest_cache
from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.objects import ObjectStore
from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.cli.command_line import run
from cortex_jupyter.cli.doctor import store as doctor
from cortex_jupyter.errors import ArchiveError, CursorNotHeld, RecordingDeleted, StoreUnreachable
from cortex_jupyter.model import TaskRef
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.retention import enforce_retention

if TYPE_CHECKING:
    from collections.abc import Callable

    from cli.conftest import Cli
    from conftest import SandboxProcess
    from support.kube import Kube

__all__ = ["new_store", "pytest_generate_tests", "server_of", "store", "valkey_server"]

SECRET = "a line that must be nowhere"


class Office:
    """An administrator with a store and an archive, and no cluster."""

    def __init__(self, store: Any, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.store, self.folder, self.archive = store, folder, folder / "archive"
        self._capfd = capfd
        store.set_setting("archive", str(self.archive))
        self.err, self.url = "", store.url

    def task(self, name: str, namespace: str = "ml", *, archived: bool = True, finished: str = "") -> Filled:
        self.store.beat(recorder("tests"))
        filled = Filled(self.store, name, namespace).lines([(1, 10, SECRET), (2, 20, "x" * 500)]).end()
        if finished:
            filled.update(finished=finished)
        if archived:
            catalog = Catalog(ObjectStore(str(self.archive)))
            archiver.archive_recording(self.store, catalog, self.store.info(filled.id), str(self.archive))
        return filled

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run a command; return its standard output."""
        self._capfd.readouterr()
        words = [*arguments, *(["--store", self.url] if arguments[0] != "logs" else [])]
        assert run(words) == code, self._capfd.readouterr().err
        out, self.err = self._capfd.readouterr()
        return out

    def delete(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Delete, and return the receipt."""
        out = self("delete", *arguments, code=code)
        assert SECRET not in out + self.err
        receipt: dict[str, Any] = orjson.loads(out)
        return receipt

    @property
    def tasks(self) -> set[str]:
        return {f"{info.ref.namespace}:{info.ref.name}" for info in self.store.recordings()}

    @property
    def files(self) -> set[str]:
        return {str(path.relative_to(self.archive)) for path in self.archive.rglob("*")}


@pytest.fixture
def office(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Office:
    for name in ("CORTEX_ARCHIVE", "CORTEX_AUDIT_LOG", "CORTEX_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", os.devnull)
    monkeypatch.setenv("CORTEX_STORE", store.url)
    return Office(store, tmp_path, capfd)


def test_a_namespace_is_deleted_with_a_receipt(office: Office) -> None:
    tasks = {name: office.task(name) for name in ("train-1", "train-2", "train-3")}
    office.task("web-1", "web")
    file = office.folder / "receipt.json"
    out = office("delete", "-n", "ml", "--archive", "--yes", "--receipt", str(file))
    assert out == "" and office.err.count("deleted\n") == 3
    assert file.stat().st_mode & 0o777 == 0o600 and SECRET.encode() not in file.read_bytes()
    receipt = orjson.loads(file.read_bytes())
    assert office.tasks == {"web:web-1"} and not (office.archive / "ml").exists()
    web = [path for path in office.files if path.startswith("web/job/web-1/")]
    assert len(web) == 2 and ArchiveStore(str(office.archive)).find(TaskRef("web", "job", "web-1")) is not None
    rows = {row["task"]: row for row in receipt.pop("recordings")}
    assert set(rows) == {f"ml:job/{name}" for name in tasks}
    row = rows["ml:job/train-1"]
    id_ = tasks["train-1"].id
    assert [each["name"] for each in row.pop("objects")] == [
        f"ml/job/train-1/{id_}.json",
        f"ml/job/train-1/{id_}.parquet",
    ]
    assert row.pop("bytes") > 0 and row.pop("by") == receipt["by"] and row.pop("at")
    assert row == {
        "task": "ml:job/train-1",
        "recording": id_,
        "uid": "uid-train-1",
        "cluster": "test",
        "records": 2,
        "from": "2026-01-01T00:00:00.000000010Z",
        "to": "2026-01-01T00:00:00.000000020Z",
        "outcome": "deleted",
        "archive": str(office.archive),
        "left_in": None,
        "may_be_recorded_again": False,
    }
    assert (receipt["complete"], receipt["refused"], receipt["dry_run"]) == (True, [], False)
    assert receipt["selection"] == {"tasks": [], "namespace": "ml", "before": None}
    assert "@" not in receipt["store"] and receipt["store"].partition("://")[0] in ("sqlite", "valkey")
    assert not any(each.is_open for each in office.store.deletions())


def test_a_dry_run_prints_the_same_and_deletes_nothing(office: Office) -> None:
    office.task("train-1")
    held = office.task("train-2")
    office("store", "hold", "train-2", "-n", "ml", "--reason", "case 12")
    before = (office.tasks, office.files)
    dry = office.delete("-n", "ml", "--archive", "--dry-run", code=1)
    assert (office.tasks, office.files) == before and office.store.deletions() == []
    real = office.delete("-n", "ml", "--archive", "--yes", code=1)
    assert dry.pop("dry_run") and not real.pop("dry_run")
    assert [row["recording"] for row in real["refused"]] == [held.id]

    def comparable(receipt: dict[str, Any]) -> list[Any]:
        rows = [{k: v for k, v in row.items() if k not in ("outcome", "at")} for row in receipt["recordings"]]
        return [rows, receipt["refused"], receipt["archive"], receipt["selection"]]

    assert comparable(dry) == comparable(real)
    file = office.folder / "receipt.json"
    file.write_text("of another deletion")
    assert office("delete", "-n", "ml", "--yes", "--receipt", str(file), code=2) == ""
    assert file.read_text() == "of another deletion" and "cannot write the receipt" in office.err


def test_more_than_one_recording_is_only_deleted_after_a_question(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    office.task("train-1")
    office.task("train-2")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert office("delete", "-n", "ml", code=2) == "" and "nobody can be asked" in office.err
    for answer in ("n\n", "\n", ""):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        assert office("delete", "-n", "ml", code=1) == "" and "nothing was deleted" in office.err
        assert "delete 2 recordings of ml (4 lines)? [y/N]" in office.err
    assert len(office.tasks) == 2 and office.store.deletions() == []
    assert len(office.delete("ml:train-1")["recordings"]) == 1, "a single recording needs no question"
    office.task("train-3")
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert len(office.delete("-n", "ml")["recordings"]) == 2 and office.tasks == set()


def test_a_held_recording_is_refused_until_it_is_released(office: Office) -> None:
    held = office.task("train-1")
    office.task("train-2")
    assert "ml:job/train-1" in office("store", "hold", "ml:train-1", "--reason", "case 12")
    assert "under a legal hold: ml:job/train-1 since" in office("store", "show")
    shown = orjson.loads(office("store", "show", "-o", "json"))["holds"]
    assert [(row["recording"], row["task"], row["reason"]) for row in shown] == [(held.id, "ml:job/train-1", "case 12")]
    findings = [f for f in doctor.judge(office.store.url, None) if "legal hold" in f.text]
    assert len(findings) == 1 and "case 12" in findings[0].details[0]
    receipt = office.delete("-n", "ml", "--archive", "--yes", code=1)
    assert [row["task"] for row in receipt["recordings"]] == ["ml:job/train-2"]
    refused = receipt["refused"][0]
    assert (refused["task"], refused["code"]) == ("ml:job/train-1", "LegalHold") and "case 12" in refused["message"]
    assert office.tasks == {"ml:train-1"} and len([path for path in office.files if path.endswith("parquet")]) == 1
    # It leaves the store for the archive only, by age; the hold remains.
    office.store.set_hold(held.id, None)
    enforce_retention(office.store, now=4e9)
    assert office.tasks == set()
    office("store", "hold", "ml:train-1", "--reason", "case 13")
    assert office.delete("ml:train-1", "--archive", code=1)["refused"][0]["code"] == "LegalHold"
    assert "released" in office("store", "release", "ml:train-1")
    assert office("store", "release", "ml:train-1", code=1) == "" and "no legal hold on ml:train-1" in office.err
    assert (
        office.delete("ml:train-1", "--archive")["recordings"][0]["records"] == 2
        and not (office.archive / "ml").exists()
    )
    assert (
        office("store", "hold", "ml:train-1", "--reason", "late", code=1) == "" and "nothing is recorded" in office.err
    )


#: Deletes, and is killed when it is about to remove the second object of the archive.
KILLED = """
import os, sys
from cortex_jupyter.archive.objects import ObjectStore
from cortex_jupyter.cli.command_line import run
removed, delete = [], ObjectStore.delete
def kill(self, name):
    if len(removed) == 1:
        os._exit(137)
    removed.append(name)
    delete(self, name)
ObjectStore.delete = kill
run(sys.argv[1:])
"""


def test_a_killed_deletion_is_completed_by_the_next(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = office.task("train-1"), office.task("train-2")
    words = ["delete", "-n", "ml", "--archive", "--yes", "--store", office.store.url]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, text=True, check=False)
    assert killed.returncode == 137 and killed.stdout == "", killed.stderr
    assert office.tasks == {"ml:train-2"}, "the store has no half of the first one"
    assert [info.id for info in ArchiveStore(str(office.archive)).recordings()] == [second.id]
    assert f"ml/job/train-1/{first.id}.parquet" in office.files
    monkeypatch.setattr(doctor, "_DELETION_S", -1)
    findings = [f for f in doctor.judge(office.store.url, None) if "is not complete" in f.text]
    assert len(findings) == 1 and "ml:job/train-1" in findings[0].text and "run the same" in findings[0].todo
    receipt = office.delete("-n", "ml", "--archive", "--yes")
    assert office.tasks == set() and not (office.archive / "ml").exists()
    rows = {row["recording"]: row for row in receipt["recordings"]}
    assert set(rows) == {first.id, second.id} and all(row["records"] == 2 for row in rows.values())
    assert all(len(row["objects"]) == 2 and row["from"] for row in rows.values())
    assert office("delete", "-n", "ml", "--archive", "--yes") == "", "a receipt names each deletion once"


def test_what_a_killed_run_had_deleted_is_in_the_next_receipt_too(office: Office) -> None:
    """The receipt is written at the end, so a run that is killed just before it leaves none."""
    first = office.task("train-1")
    script = KILLED.replace("== 1", "== 2")
    words = ["delete", "train-1", "-n", "ml", "--archive", "--store", office.store.url]
    office.task("train-2")
    subprocess.run([sys.executable, "-c", script, *words, "ml:train-2", "--yes"], check=False, capture_output=True)
    assert not list((office.archive / "ml/job/train-1").glob("*")) and office.store.info(first.id) is None
    receipt = office.delete("ml:train-1", "ml:train-2", "--archive", "--yes")
    assert {row["task"] for row in receipt["recordings"]} == {"ml:job/train-1", "ml:job/train-2"}


def test_a_failure_of_the_archive_is_in_the_receipt_and_the_next_run_completes_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = office.task("train-1"), office.task("train-2")
    with monkeypatch.context() as patch:
        delete = ObjectStore.delete

        def fail(self: ObjectStore, name: str) -> None:
            if "train-1" in name:
                raise ArchiveError(f"{name} cannot be deleted: access denied")
            delete(self, name)

        patch.setattr(ObjectStore, "delete", fail)
        receipt = office.delete("-n", "ml", "--archive", "--yes", code=1)
    assert [row["recording"] for row in receipt["recordings"]] == [two.id]
    assert [(row["recording"], row["code"]) for row in receipt["refused"]] == [(one.id, "ArchiveError")]
    receipt = office.delete("-n", "ml", "--archive", "--yes")
    assert [row["recording"] for row in receipt["recordings"]] == [one.id] and not (office.archive / "ml").exists()


def test_the_audit_log_has_who_what_and_how_it_ended(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    log = office.folder / "audit.log"
    monkeypatch.setenv("CORTEX_AUDIT_LOG", str(log))
    one, held = office.task("train-1"), office.task("train-2")
    office("store", "hold", "ml:train-2", "--reason", "case 12")
    office.delete("-n", "ml", "--archive", "--yes", code=1)
    office("store", "release", "ml:train-2")
    records = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert [(r["event"], r["recording"], r.get("outcome")) for r in records] == [
        ("hold", held.id, None),
        ("started", one.id, None),
        ("ended", one.id, "complete"),
        ("refused", held.id, "LegalHold"),
        ("release", held.id, None),
    ]
    ended = records[2]
    assert (ended["task"], ended["lines"], ended["objects"], ended["way"]) == (
        "ml:job/train-1",
        2,
        2,
        "cortex-jupyter delete",
    )
    assert ended["user"] and ended["bytes"] > 0 and records[0]["reason"] == "case 12"
    assert SECRET.encode() not in log.read_bytes()
    # Nothing is deleted or held without it.
    monkeypatch.setenv("CORTEX_AUDIT_LOG", str(office.folder / "missing" / "audit.log"))
    before = (office.tasks, office.files)
    assert office("delete", "ml:train-2", "--archive", code=1) == "" and "audit log" in office.err
    assert office("store", "hold", "ml:train-2", "--reason", "x", code=1) == ""
    assert (office.tasks, office.files, office.store.holds()) == (*before, {})


def test_what_is_not_there_is_said(office: Office) -> None:
    office.task("train-1")
    assert office("delete", code=2) == "" and "nothing is selected" in office.err
    assert office("delete", "-n", "empty") == "" and "there are no such recordings" in office.err
    assert office("delete", "ml:train-1", "ml:typo", code=1) == "" and "nothing is recorded of ml:typo" in office.err
    assert office.tasks == {"ml:train-1"}, "a task was deleted although another one does not exist"
    assert office("delete", "-n", "ml", "--before", "soon", code=2) == "" and "before='soon'" in office.err
    office.delete("ml:train-1", "--archive")
    assert office("delete", "ml:train-1", "--archive") == "" and "ml:train-1 was deleted" in office.err
    assert office("logs", "ml:train-1", code=1) == ""
    assert "the recording of ml:job/train-1 was deleted 20" in office.err and "--record-again" in office.err


def test_the_age_of_a_task_decides(office: Office) -> None:
    office.task("old", finished="2026-01-01T00:00:00Z")
    office.task("young", finished="2026-03-01T00:00:00Z")
    office.task("other", "web", finished="2026-01-02T00:00:00Z")
    assert [r["task"] for r in office.delete("-n", "ml", "--before", "2026-02-01")["recordings"]] == ["ml:job/old"]
    assert [r["task"] for r in office.delete("--before", "2026-02-01")["recordings"]] == ["web:job/other"]
    assert office.tasks == {"ml:young"}
    assert office("delete", "--before", "2026-01-01T00:00:00Z", "ml:young") == ""


def test_without_archive_the_archived_recording_stays(office: Office) -> None:
    filled = office.task("train-1")
    before = office.files
    receipt = office.delete("ml:train-1")
    assert receipt["recordings"][0]["left_in"] == str(office.archive) and receipt["archive"] is None
    assert "still has it, which --archive deletes too" in office.err
    assert office.tasks == set() and office.files == before
    assert ArchiveStore(str(office.archive)).info(filled.id) is not None
    assert office.delete("ml:train-1", "--archive")["recordings"][0]["records"] == 2
    assert not (office.archive / "ml").exists()
    office.store.set_setting("archive", "")
    assert office("delete", "ml:train-1", "--archive", code=2) == "" and "no archive is set" in office.err


def test_a_recording_that_is_in_another_archive_is_not_completely_deleted(office: Office) -> None:
    filled = office.task("train-1")
    first, office.archive = office.archive, office.folder / "archive-2"
    office.store.set_setting("archive", str(office.archive))
    for dry in (["--dry-run"], []):
        receipt = office.delete("ml:train-1", "--archive", *dry, code=1)
        assert receipt["complete"] is False and receipt["recordings"][0]["left_in"] == str(first)
        assert f"CORTEX_ARCHIVE={first}" in office.err
    assert office.tasks == set() and ArchiveStore(str(first)).info(filled.id) is not None
    office.archive = first
    office.store.set_setting("archive", str(first))
    receipt = office.delete("ml:train-1", "--archive")
    assert receipt["complete"] and len(receipt["recordings"][0]["objects"]) == 2 and not (first / "ml").exists()
    # The same archive may be written in several ways.
    filled = office.task("train-2")
    office.store.set_setting(f"archived:{filled.id}", f"file://{first}/")
    office.store.set_setting("archive", f"{first}/")
    assert office.delete("ml:train-2", "--archive")["recordings"][0]["left_in"] is None


def test_remains_of_interrupted_archiving_are_deleted(office: Office) -> None:
    filled = office.task("train-1")
    folder = office.archive / "ml/job/train-1"
    (folder / f"{filled.id}.json").unlink()
    (folder / f"{filled.id}.parquet#77").write_text("of a writer that was killed")
    (office.archive / "ml/job/train-9").mkdir()
    (office.archive / "ml/job/train-9/123456789.json").write_text("damaged")
    office.store.set_setting(f"archived:{filled.id}", str(office.archive))
    enforce_retention(office.store, now=4e9)
    (office.archive / "ml/notes.txt").write_text("of somebody")
    receipt = office.delete("-n", "ml", "--archive", "--yes")
    assert {row["task"] for row in receipt["recordings"]} == {"ml:job/train-1", "ml:job/train-9"}
    assert {path for path in office.files if path.startswith("ml")} == {"ml", "ml/notes.txt"}


@on_sqlite
def test_what_has_no_readable_manifest_is_left_out_unless_all_clusters_are_meant(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be of another cluster, whose collector may be writing it now, and it says no end."""
    newer, writing = office.task("train-1"), office.task("train-2")
    mine = office.task("train-3")
    for each in (newer, writing):
        enforce_retention(office.store, now=4e9)
        assert office.store.info(each.id) is None
    folder = office.archive / "ml/job"
    manifest = folder / f"train-1/{newer.id}.json"
    manifest.write_bytes(orjson.dumps(orjson.loads(manifest.read_bytes()) | {"version": 1000}))
    (folder / f"train-2/{writing.id}.json").unlink()
    before = office.files
    monkeypatch.setenv("KUBECONFIG", os.devnull)
    assert office("delete", "-n", "ml", "--before", "2999-01-01", "--archive", "--dry-run").count('"outcome"') == 1
    monkeypatch.setenv("CORTEX_CLUSTER", "test")
    receipt = office.delete("-n", "ml", "--archive", "--yes", code=1)
    assert [row["recording"] for row in receipt["recordings"]] == [mine.id] and receipt["complete"] is False
    assert {row["recording"] for row in receipt["left_out"]} == {newer.id, writing.id}
    assert all("no manifest that can be read" in row["why"] for row in receipt["left_out"])
    assert "2 recordings" in office.err and "KUBECONFIG=/dev/null CORTEX_CLUSTER=" in office.err
    assert before - office.files == {path for path in before if "train-3" in path}
    monkeypatch.setenv("CORTEX_CLUSTER", "")
    assert office("delete", "ml:train-2", "--before", "2999-01-01", "--archive") == "" and "not known" in office.err
    receipt = office.delete("-n", "ml", "--archive", "--yes", code=1)
    assert [row["recording"] for row in receipt["recordings"]] == [writing.id] and receipt["left_out"] == []
    assert [(row["recording"], row["code"]) for row in receipt["refused"]] == [(newer.id, "ArchiveTooNew")]
    assert manifest.exists() and (folder / f"train-1/{newer.id}.parquet").exists()


@on_sqlite
def test_a_killed_deletion_is_completed_for_its_cluster(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    first = office.task("train-1")
    monkeypatch.setenv("KUBECONFIG", os.devnull)
    monkeypatch.setenv("CORTEX_CLUSTER", "test")
    words = ["delete", "-n", "ml", "--archive", "--yes", "--store", office.store.url]
    subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, check=False)
    assert f"ml/job/train-1/{first.id}.parquet" in office.files, "the manifest is gone, the file is not"
    receipt = office.delete("-n", "ml", "--archive", "--yes")
    assert len(receipt["recordings"][0]["objects"]) == 2 and receipt["left_out"] == []
    assert not (office.archive / "ml").exists()


def test_the_archive_lists_keep_no_copy_of_a_manifest(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.task("train-1")
    office.task("train-2")
    catalog = Catalog(ObjectStore(str(office.archive)))
    catalog.refresh_manifest_cache("ml")
    office.delete("ml:train-1", "--archive")
    cached = manifest_cache.load(catalog.objects, "ml")
    assert [name.split("/")[2] for name in cached] == ["train-2"]
    office.delete("ml:train-2", "--archive")
    assert not (office.archive / "ml").exists()


def test_archiving_that_goes_on_during_a_deletion_leaves_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = office.task("train-1", archived=False)
    catalog = Catalog(ObjectStore(str(office.archive)))
    put = Catalog.put

    def slow(self: Catalog, *arguments: Any, **options: Any) -> Any:
        recording = put(self, *arguments, **options)
        (deletion,) = [office.delete("ml:train-1")]
        assert deletion["recordings"][0]["objects"] == []
        return recording

    monkeypatch.setattr(Catalog, "put", slow)
    with pytest.raises(RecordingDeleted):
        archiver.archive_recording(office.store, catalog, office.store.info(filled.id), str(office.archive))
    assert not (office.archive / "ml").exists() and office.store.setting(f"archived:{filled.id}") == ""


def test_what_was_archived_after_the_plan_is_deleted_too(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archiver may end while the administrator reads the question."""
    filled = office.task("train-1", archived=False)
    catalog = Catalog(ObjectStore(str(office.archive)))
    delete = type(office.store).delete

    def late(*arguments: Any, **options: Any) -> None:
        archiver.archive_recording(office.store, catalog, office.store.info(filled.id), str(office.archive))
        delete(*arguments, **options)

    monkeypatch.setattr(type(office.store), "delete", late)
    row = office.delete("ml:train-1", "--archive")["recordings"][0]
    assert not (office.archive / "ml").exists()
    assert [(each["name"].rpartition(".")[2], each["bytes"] > 0) for each in row["objects"]] == [
        ("json", True),
        ("parquet", True),
    ]


def test_a_reader_of_the_archive_that_knows_the_manifest_gets_an_error(office: Office) -> None:
    filled = office.task("train-1")
    reader = ArchiveStore(str(office.archive))
    assert reader.info(filled.id) is not None
    office.delete("ml:train-1", "--archive")
    with pytest.raises(CursorNotHeld, match="removed from the archive while it was read"):
        reader.entries(filled.id, 0, 1 << 20)
    assert reader.info(filled.id) is None


@on_sqlite
def test_a_recording_that_is_being_written_is_refused(office: Office) -> None:
    office.store.beat(recorder("tests"))
    Filled(office.store, "running").lines([(1, 1, SECRET)])
    refused = office.delete("ml:running", code=1)["refused"][0]
    assert refused["code"] == "StillRecorded" and "wait until the task has ended" in refused["hint"]
    office.store.leave("tests")
    assert len(office.delete("ml:running")["recordings"]) == 1


@on_sqlite
def test_a_restore_does_not_end_a_hold(office: Office) -> None:
    office.task("train-1")
    backup = str(office.folder / "backup")
    office("store", "backup", backup)
    office("store", "hold", "ml:train-1", "--reason", "case 12")
    office.store.leave("tests")
    assert office("store", "restore", backup, "--replace", code=1) == "" and "legal hold" in office.err
    assert office.tasks == {"ml:train-1"} and len(office.store.holds()) == 1


def test_the_right_to_delete_the_namespace_is_needed_on_a_shared_store(
    valkey_server: Server,
    sandbox: SandboxProcess,
    unique: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    valkey_server.ask("FLUSHALL")
    refused, allowed = unique("ours"), unique("mine")
    with contextlib.closing(open_store(valkey_server.url)) as shared:
        office = Office(shared, tmp_path, capfd)
        monkeypatch.setenv("KUBECONFIG", str(sandbox.kubeconfig))
        monkeypatch.setenv("CORTEX_CLUSTER", "test")  # the cluster of `Filled`
        for namespace in (refused, allowed):
            office.task("train-1", namespace, archived=False)
        Filled(shared, "train-1", refused, cluster="another").lines([(1, 1, "x")]).end()
        sandbox.fault("deny", verb="delete", resource="namespaces", namespace=refused)
        assert office("store", "hold", f"{refused}:train-1", "--reason", "x", code=1) == "" and shared.holds() == {}
        receipt = office.delete("--before", "0s", "--yes", code=1)
        assert "1 recording of cluster another is left out" in office.err
        assert [row["task"] for row in receipt["recordings"]] == [f"{allowed}:job/train-1"]
        row = receipt["refused"][0]
        assert (row["task"], row["code"]) == (f"{refused}:job/train-1", "NotAllowed")
        assert "`delete namespaces`" in row["message"] and len(shared.recordings()) == 2
        sandbox.clear()
        assert len(office.delete("-n", refused, code=1)["recordings"]) == 1 and len(shared.recordings()) == 1


def test_recordings_of_other_cluster_names_are_left_out_and_named(
    office: Office, sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.store.beat(recorder("tests"))
    ours = Filled(office.store, "train-1", cluster="prod-1").lines([(1, 1, SECRET)]).end()
    former = [Filled(office.store, f"old-{i}", cluster="former").lines([(1, 1, SECRET)]).end() for i in (1, 2)]
    Filled(office.store, "old-3", "web", cluster="former").lines([(1, 1, SECRET)]).end()
    monkeypatch.setenv("KUBECONFIG", str(sandbox.kubeconfig))
    monkeypatch.setenv("CORTEX_CLUSTER", "third")
    receipt = office.delete("-n", "ml", "--archive", "--yes", code=1)
    assert receipt["complete"] is False and receipt["recordings"] == []
    monkeypatch.setenv("CORTEX_CLUSTER", "prod-1")
    for dry in (["--dry-run"], []):
        receipt = office.delete("-n", "ml", "--archive", "--yes", *dry, code=1)
        assert [row["recording"] for row in receipt["recordings"]] == [ours.id] and receipt["refused"] == []
        assert receipt["complete"] is False and len(receipt["left_out"]) == 2
        rows = {row["recording"]: row for row in receipt["left_out"]}
        assert set(rows) == {each.id for each in former}
        row = rows[former[0].id]
        assert (row["task"], row["cluster"], row["records"]) == ("ml:job/old-1", "former", 1)
        assert row["why"] == "it is of cluster former; this command deletes recordings of cluster prod-1"
        assert "2 recordings of cluster former are left out" in office.err
        assert "CORTEX_CLUSTER=former (no recorder" in office.err and "--context" not in office.err
        assert "for all clusters with KUBECONFIG=/dev/null CORTEX_CLUSTER=" in office.err
    office.store.beat(replace(recorder("theirs"), cluster="former"))
    office.delete("-n", "ml", "--dry-run", code=1)
    assert "the kubeconfig of that cluster and CORTEX_CLUSTER=former" in office.err
    receipt = office.delete("ml:old-1", code=1)
    assert [row["recording"] for row in receipt["left_out"]] == [former[0].id], "it was never recorded, it said"
    # What the message advises works, of one cluster name and of all.
    monkeypatch.setenv("CORTEX_CLUSTER", "former")
    receipt = office.delete("-n", "ml", "--archive", "--yes")
    assert (len(receipt["recordings"]), receipt["complete"], receipt["left_out"]) == (2, True, [])
    monkeypatch.setenv("CORTEX_CLUSTER", "prod-1")
    monkeypatch.setenv("KUBECONFIG", "/dev/null")
    assert office.delete("-n", "web", "--archive", "--yes", code=1)["recordings"] == []
    monkeypatch.setenv("CORTEX_CLUSTER", "")
    assert len(office.delete("-n", "web", "--archive", "--yes")["recordings"]) == 1 and office.tasks == set()


@on_sqlite
def test_a_kubeconfig_that_cannot_be_used_deletes_and_holds_nothing(
    office: Office, sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a cluster nobody is asked, and the recordings of all clusters are meant: that must be deliberate."""
    office.store.beat(recorder("tests"))
    ours = Filled(office.store, "train-1", cluster="prod-1").lines([(1, 1, SECRET)]).end()
    theirs = Filled(office.store, "train-2", cluster="prod-2").lines([(1, 1, SECRET)]).end()
    broken, plugin, none = tmp_path / "broken", tmp_path / "plugin", str(tmp_path / "none")
    broken.write_text("{")
    user = {"name": "u", "user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "false"}}}
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
    plugin.write_bytes(
        orjson.dumps({"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "x"})
    )
    office("store", "hold", "ml:train-1", "--reason", "case 12")
    for name, path, options in (
        ("", none, ["--kubeconfig", none]),
        ("", none, ["--context", "typo"]),
        ("", str(sandbox.kubeconfig), ["--context", "typo"]),
        ("", os.devnull, ["--context", "typo"]),
        ("", none, []),
        ("", str(broken), []),
        ("", str(plugin), []),
        ("prod-1", none, []),
    ):
        monkeypatch.setenv("CORTEX_CLUSTER", name)
        monkeypatch.setenv("KUBECONFIG", path)
        for command in (
            ["delete", "-n", "ml", "--yes"],
            ["store", "hold", "ml:train-2", "--reason", "x"],
            ["store", "release", "ml:train-1"],
        ):
            assert office(*command, *options, code=1) == "", (name, path, options)
            assert "KUBECONFIG=/dev/null" in office.err, "it does not say what to do"
    assert office.tasks == {"ml:train-1", "ml:train-2"} and [*office.store.holds()] == [ours.id]
    monkeypatch.setenv("KUBECONFIG", os.devnull)
    assert "released" in office("store", "release", "ml:train-1") and office.store.holds() == {}
    receipt = office.delete("-n", "ml", "--yes", code=1)
    assert [row["recording"] for row in receipt["recordings"]] == [ours.id], "CORTEX_CLUSTER is ignored"
    assert [row["recording"] for row in receipt["left_out"]] == [theirs.id]


def test_what_is_refused_makes_the_receipt_incomplete(office: Office) -> None:
    office.task("train-1")
    office.task("train-2")
    office("store", "hold", "ml:train-2", "--reason", "case 12")
    receipt = office.delete("-n", "ml", "--archive", "--yes", code=1)
    assert len(receipt["recordings"]) == len(receipt["refused"]) == 1 and receipt["complete"] is False


def test_a_lease_does_not_keep_a_task_that_has_left_the_cluster(
    office: Office, kube: Kube, sandbox: SandboxProcess, unique: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restored store says that a living collector records a task, which that collector has long finished."""
    monkeypatch.setenv("KUBECONFIG", str(sandbox.kubeconfig))
    monkeypatch.setenv("CORTEX_CLUSTER", "test")
    gone, here = unique("gone"), unique("here")
    job(kube, here, "sleep 60")
    uid = kube.request("GET", f"/apis/batch/v1/namespaces/default/jobs/{here}").json()["metadata"]["uid"]

    def delete(**options: Any) -> dict[str, Any]:
        for name, owner_uid in ((gone, "another"), (here, uid)):
            if f"default:{name}" not in office.tasks:
                Hand(office.store, TaskRef("default", "job", name), owner_uid, "tests", "test").lines([(1, 1, SECRET)])
        office.store.beat(recorder("tests"))
        return office.delete(f"default:{gone}", f"default:{here}", "--yes", **options)

    sandbox.fault("deny", verb="get", resource="jobs")
    assert [row["code"] for row in delete(code=1)["refused"]] == ["StillRecorded"] * 2
    sandbox.clear()
    receipt = delete(code=1)
    assert [row["task"] for row in receipt["recordings"]] == [f"default:job/{gone}"]
    assert [(row["task"], row["code"]) for row in receipt["refused"]] == [(f"default:job/{here}", "StillRecorded")]
    assert office.tasks == {f"default:{here}"}
    kube.delete("jobs", here, "default")
    path = f"/apis/batch/v1/namespaces/default/jobs/{here}"
    kube.wait_for(lambda: kube.request("GET", path).status_code == 404, "the job to be gone")
    office.store.beat(recorder("tests"))
    assert office.delete(f"default:{here}")["complete"]
    # It has new lines, so it runs, and the kubeconfig is that of another cluster.
    Hand(office.store, TaskRef("default", "job", gone), "new", "tests", "test").lines([(time.time_ns(), 1, SECRET)])
    assert office.delete(f"default:{gone}", code=1)["refused"][0]["code"] == "StillRecorded"
    assert "kubeconfig" in office.err


def test_a_user_who_only_reads_deletes_nothing_and_the_audit_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "audit.log"
    acl = Path(__file__).parents[2] / "docs" / "how-to" / "valkey-users.acl"
    monkeypatch.setenv("CORTEX_STORE_PASSWORD", "")
    monkeypatch.setenv("CORTEX_AUDIT_LOG", str(log))
    monkeypatch.setenv("KUBECONFIG", os.devnull)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(tmp_path / "valkey", login=("admin", "ADMIN_PASSWORD"), aclfile=acl))
        urls = {u: server.url.replace("//", f"//{u}:{u.upper()}_PASSWORD@") for u in ("recorder", "reader")}
        shared, reader = (stack.enter_context(contextlib.closing(open_store(urls[u]))) for u in ("recorder", "reader"))
        shared.beat(recorder("tests"))
        filled = Filled(shared, "train-1").lines([(1, 1, SECRET)]).end()
        office = Office(shared, tmp_path, capfd)
        office.url = urls["reader"]
        for dry in (["--dry-run"], []):
            refused = office.delete("ml:train-1", *dry, code=1)["refused"][0]
            assert refused["code"] == "NotAllowed" and "may only read" in refused["message"], refused
            assert "recorder" in refused["hint"] and "decrby" not in office.err
        assert office("store", "hold", "ml:train-1", "--reason", "x", code=1) == "" and "may only read" in office.err
        records = [orjson.loads(line) for line in log.read_bytes().splitlines()]
        assert [(r["event"], r["recording"], r["outcome"]) for r in records] == [
            ("refused", filled.id, "NotAllowed"),
            ("refused", filled.id, "NotAllowed"),
        ]
        assert reader.info(filled.id) is not None


def test_a_failure_of_the_store_is_in_the_audit_log(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    log = office.folder / "audit.log"
    monkeypatch.setenv("CORTEX_AUDIT_LOG", str(log))
    filled = office.task("train-1")

    def fail(*_: object, **__: object) -> None:
        raise StoreUnreachable("the store does not answer")

    monkeypatch.setattr(type(office.store), "delete", fail)
    receipt = office.delete("ml:train-1", code=1)
    assert receipt["complete"] is False and "the store does not answer" in office.err
    records = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert [(r["event"], r["recording"], r.get("outcome")) for r in records] == [
        ("started", filled.id, None),
        ("ended", filled.id, "StoreUnreachable"),
    ]


def test_a_deleted_task_of_the_cluster_is_not_recorded_again(
    live: Cli, kube: Kube, unique: Callable[[str], str]
) -> None:
    name = unique("deleted")
    job(kube, name, "echo one; echo two")
    assert live("logs", "-f", name).stdout == "one\ntwo\n"
    receipt = orjson.loads(live("delete", name).stdout)
    assert receipt["recordings"][0]["records"] == 2 and live("tasks").stdout.count(name) == 1
    for arguments in (("logs", name), ("logs", "-f", name)):
        again = live(*arguments)
        assert (again.returncode, again.stdout) == (1, "") and f"{name} was deleted 20" in again.stderr, again.stderr
        assert "--record-again" in again.stderr
    with contextlib.closing(open_store(live.env["CORTEX_STORE"])) as opened:
        assert opened.recordings() == []
    assert "may be recorded again" in live("delete", name, "--record-again").stderr
    assert live("logs", name, "--since", "all").stdout == "one\ntwo\n"
    assert live("delete", name, "--record-again").returncode == 0
    assert live("logs", name, "--since", "all").stdout == "one\ntwo\n"


def test_a_task_that_runs_without_a_recorder_is_refused(
    live: Cli, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name, flag = unique("running"), tmp_path / "flag"
    job(kube, name, f"echo one; while [ ! -e {flag} ]; do sleep 0.05; done; echo two")
    follow = live.start("logs", "-f", name)
    assert follow.stdout is not None and follow.stdout.readline() == "one\n"
    with contextlib.closing(open_store(live.env["CORTEX_STORE"])) as opened:
        info = opened.recordings("default")[0]
        refused = orjson.loads(live("delete", name).stdout)["refused"][0]
        assert (refused["code"], refused["message"]) == ("StillRecorded", "the task is still being recorded")
        follow.kill()
        follow.communicate()
        recorder_info = opened.recorders(info.cluster)[0]
        os.kill(recorder_info.pid, signal.SIGKILL)
        _wait(lambda: not opened.recorders(info.cluster))
        refused = orjson.loads(live("delete", name).stdout)["refused"][0]
        assert refused["code"] == "StillRecorded" and "although no recorder writes" in refused["message"]
        assert opened.info(info.id) is not None
        flag.touch()
        kube.delete("jobs", name, "default")
        _wait(lambda: live("delete", name).returncode == 0)
        assert opened.recordings() == []
    gone = live("logs", name)
    assert gone.returncode == 1 and f"the recording of default:job/{name} was deleted" in gone.stderr, gone.stderr


def test_a_collector_does_not_record_a_deleted_task_again(
    live: Cli, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name, later = unique("deleted"), unique("later")
    url = live.env["CORTEX_STORE"]
    log = tmp_path / "collector.log"
    command = live.command("record", "--all", "-n", "default")
    with contextlib.closing(open_store(url)) as opened, log.open("wb") as file:

        def done(task: str) -> bool:
            info = opened.find(TaskRef("default", "job", task))
            return info is not None and info.done

        job(kube, name, "echo one")
        collector = subprocess.Popen(command, env=live.env, stdout=file, stderr=file)
        try:
            _wait(lambda: done(name))
            assert live("delete", name).returncode == 0
            job(kube, later, "echo two")
            _wait(lambda: done(later))
            assert opened.find(TaskRef("default", "job", name)) is None
        finally:
            collector.terminate()
            collector.wait()
        collector = subprocess.Popen(command, env=live.env, stdout=file, stderr=file)  # which knows nothing of it
        try:
            _wait(lambda: f"{name} was deleted" in log.read_text())
            assert opened.find(TaskRef("default", "job", name)) is None
        finally:
            collector.terminate()
            collector.wait()


def test_a_collector_under_a_former_cluster_name_ends_what_has_left_the_cluster(
    live: Cli, kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    """As docs/how-to/delete.md advises. The label keeps it from recording other tasks."""
    gone, here = unique("gone"), unique("here")
    job(kube, here, "echo one")
    archive = tmp_path / "archive"
    env = live.env | {"CORTEX_CLUSTER": "former", "CORTEX_ARCHIVE": str(archive)}
    with contextlib.closing(open_store(live.env["CORTEX_STORE"])) as opened:
        hand = Hand(opened, TaskRef("default", "job", gone), "uid", "dead", "former")
        hand.lines([(1, 1, "one")])
        opened.leave("dead")
        collector = subprocess.Popen(live.command("record", "--all", "-l", "no-task=has-this-label"), env=env)
        try:
            _wait(lambda: (info := opened.info(hand.id)) is None or info.done)
            _wait(lambda: [*archive.rglob("*.parquet")])
        finally:
            collector.terminate()
            collector.wait()
        assert [info.id for info in opened.recordings() if info.cluster == "former"] == [hand.id]


def _wait(condition: Callable[[], object]) -> None:
    asyncio.run(until(condition))
