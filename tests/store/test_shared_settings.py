"""Only an administrator sets the settings of a shared store. No reader changes them, whatever its environment says."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from cortex_jupyter.archive.store import select_archive
from cortex_jupyter.cli.command_line import run
from cortex_jupyter.cli.doctor import store as doctor_store
from cortex_jupyter.reader.session import Session
from cortex_jupyter.store import local
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.masking import configure_masking
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.valkey import Server

    from cortex_jupyter.store import Store

NAMES = ("archive", "max_bytes", "max_age_s", "max_task_bytes", "mask")
SET = {"archive": "s3://logs/runs", "max_bytes": "50000000000", "max_age_s": "7776000.0", "mask": "1"}
OTHERS = {
    "CORTEX_ARCHIVE": "s3://mine/runs",
    "CORTEX_STORE_MAX_AGE": "1d",
    "CORTEX_STORE_MAX_BYTES": "1MB",
    "CORTEX_STORE_MAX_TASK_BYTES": "1MB",
    "CORTEX_MASK": "0",
}


@pytest.fixture
def server(valkey_server: Server) -> Server:
    valkey_server.ask("FLUSHALL")
    return valkey_server


@pytest.fixture
def shared(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name in OTHERS:
        monkeypatch.delenv(name, raising=False)
    with contextlib.closing(open_store(server.url)) as store:
        yield store


def command(store: Store, *words: str) -> int:
    return run(["store", words[0], "--store", store.url, *words[1:]])


def record(store: Store, tmp_path: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Start a recorder, which ends because it finds no cluster."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CORTEX_")}
    kubeconfig = {"KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)}
    line = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", store.url, *options]
    return subprocess.run(line, env=clean | kubeconfig | env, capture_output=True, text=True, check=False)


def test_an_administrator_sets_and_lists_settings(
    shared: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(shared, "set", "archive=s3://logs/runs", "max-bytes=50GB", "max-age=90d", "mask=on") == 0
    assert shared.settings(NAMES) == SET
    capsys.readouterr()
    monkeypatch.setenv("CORTEX_STORE_MAX_AGE", "1d")  # reading settings changes nothing
    assert command(shared, "show") == 0
    out = capsys.readouterr().out
    assert (
        "archive         s3://logs/runs\n" in out and "max-age         90d\n" in out and "mask            on\n" in out
    )
    assert command(shared, "show", "-o", "json") == 0
    said = orjson.loads(capsys.readouterr().out)
    assert said == {
        "archive": "s3://logs/runs",
        "max-bytes": "50000000000",
        "max-age": "90d",
        "max-task-bytes": "",
        "mask": "on",
        "collectors": "",
        "namespaces": {},
        "holds": [],
    }
    assert command(shared, "set", "max-age=1h") == 0 and "max-age         1h\n" in capsys.readouterr().out
    assert command(shared, "set", "archive=", "max-age=", "mask=off") == 0
    assert shared.budget().max_age_s == 30 * 86400 and select_archive(shared) is None and shared.setting("mask") == "0"
    before = shared.settings(NAMES)
    for wrong in ("archive", "colour=red", "max-age=soon", "mask=perhaps", "archive=ftp://x/y"):
        assert command(shared, "set", "max-bytes=1GB", wrong) == 2, wrong
    assert shared.settings(NAMES) == before, "some settings were stored although one is invalid"


async def test_no_reader_changes_settings(
    shared: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    command(shared, "set", "archive=s3://logs/runs", "max-bytes=50GB", "max-age=90d", "mask=on")
    for archive in ("s3://mine/runs", ""):
        for name, value in (OTHERS | {"CORTEX_ARCHIVE": archive}).items():
            monkeypatch.setenv(name, value)
        budget = Budget.parse("2MB", "2d")
        reader = await Session.connect(shared.url, budget=budget, archive=select_archive, mask=False)
        assert (reader.archive.url if reader.archive else "") == archive, (
            "the process does not read the archive of its environment"
        )
        await reader.close()
        assert shared.settings(NAMES) == SET
    assert caplog.text.count("store set archive=") == 2, "the log does not say that the store has another archive"
    assert caplog.text.count("store set mask=") == 2


def test_no_reader_sets_unset_settings(shared: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A reader's recorder is started with the reader's environment too."""
    for name, value in OTHERS.items():
        monkeypatch.setenv(name, value)
    with contextlib.closing(open_store(shared.url)) as store:
        select_archive(store)
        Settings(store, {"archive": "s3://mine/runs", "mask": "1"}).look()
    done = record(shared, tmp_path, **OTHERS)
    assert done.returncode == 1 and shared.settings(NAMES) == {}


def test_a_collector_with_its_own_settings_counts_as_an_administrator(shared: Store, tmp_path: Path) -> None:
    done = record(shared, tmp_path, "--all", **OTHERS)
    assert done.returncode == 1
    held = shared.settings(NAMES)
    assert held["archive"] == "s3://mine/runs" and held["max_age_s"] == "86400.0" and held["max_bytes"] == "1000000"
    record(shared, tmp_path, "--all", CORTEX_STORE_MAX_AGE="2d")
    assert shared.settings(NAMES) == held | {"max_age_s": "172800.0"}, (
        "settings that the collector does not have were changed"
    )


def test_a_folder_on_one_host_cannot_be_the_archive_of_a_shared_store(
    shared: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in (str(tmp_path), f"file://{tmp_path}"):
        assert command(shared, "set", f"archive={url}") == 2
        said = capsys.readouterr().err
        assert "on this host only" in said and "s3://" in said
    done = record(shared, tmp_path, "--all", CORTEX_ARCHIVE=str(tmp_path))
    assert done.returncode == 1 and "on this host only" in done.stderr
    assert shared.setting("archive") == ""
    # A folder that all hosts share can be.
    (tmp_path / "mountinfo").write_text(f"36 27 0:42 / {tmp_path} rw shared:1 - nfs4 server:/export rw\n")
    monkeypatch.setattr(local, "MOUNTS", tmp_path / "mountinfo")
    assert command(shared, "set", f"archive={tmp_path}/archive") == 0


def test_a_private_store_takes_settings_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (OTHERS | {"CORTEX_ARCHIVE": str(tmp_path / "archive")}).items():
        monkeypatch.setenv(name, value)
    with contextlib.closing(open_store(f"sqlite://{tmp_path}/r.sqlite")) as store:
        found: Any = select_archive(store)
        assert found.url == store.setting("archive") == str(tmp_path / "archive")
        assert store.budget() == Budget(1_000_000, 86400.0, 1_000_000)


@pytest.mark.parametrize("way", ["store set", "CORTEX_ARCHIVE", "record"])
def test_a_relative_archive_is_the_same_folder_for_every_process(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each process would look below its own current folder, and miss what another one archived."""
    monkeypatch.delenv("CORTEX_ARCHIVE", raising=False)
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(open_store(f"sqlite:///{tmp_path / 'recordings.sqlite'}")) as store:
        if way == "store set":
            assert command(store, "set", "archive=runs") == 0
        elif way == "record":
            record(store, tmp_path, CORTEX_ARCHIVE="runs")
        else:
            monkeypatch.setenv("CORTEX_ARCHIVE", "runs")
            select_archive(store)
        assert store.setting("archive") == str(tmp_path / "runs")


def test_a_store_knows_who_set_what_and_when(shared: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command(shared, "set", "max-age=90d")
    record(shared, tmp_path, "--all", CORTEX_ARCHIVE="s3://mine/runs")
    capsys.readouterr()
    assert command(shared, "show") == 0
    out = capsys.readouterr().out
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    assert re.search(rf"max-age was set by \S+ with `cortex-jupyter store set`, {today} \d\d:\d\d UTC", out)
    assert re.search(rf"archive was set by a collector on \S+ with CORTEX_ARCHIVE, {today}", out)
    assert command(shared, "set", "archive=s3://logs/runs") == 0
    assert "sets it again when it starts" in capsys.readouterr().err
    texts = [f.text for f in doctor_store.settings_findings(shared)]
    assert any("archive=s3://logs/runs was set by" in text and "store set" in text for text in texts)


def test_locked_settings_are_changed_by_nobody(
    shared: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command(shared, "set", "max-age=90d")
    assert command(shared, "lock") == 0
    before = shared.settings(NAMES)
    capsys.readouterr()
    assert command(shared, "set", "max-age=1d") == 2
    assert "are locked" in (said := capsys.readouterr().err) and "store lock --off" in said
    done = record(shared, tmp_path, "--all", **OTHERS)
    assert shared.settings(NAMES) == before, "a collector has changed locked settings"
    assert "CORTEX_STORE_MAX_AGE of this collector has no effect" in done.stderr
    assert "locked" in "".join(f.text for f in doctor_store.settings_findings(shared))
    with contextlib.closing(open_store(shared.url)) as store:
        own = Settings(store, {"archive": "s3://mine/runs", "mask": "1"}, administrator=True)
        own.look()
        assert shared.settings(NAMES) == before and own.masked, "a collector that has to mask does not"
        shared._link.ask("FLUSHALL")  # type: ignore[attr-defined]
        own.look()
    assert shared.settings(NAMES) == before
    assert command(shared, "set", "max-age=1d") == 2, "the lock was lost with the store's memory"
    assert command(shared, "lock", "--off") == 0 and command(shared, "set", "max-age=1d") == 0


def test_a_collectors_own_settings_win_over_those_of_no_administrator(shared: Store, tmp_path: Path) -> None:
    """Readers of older versions write their environment into the store."""
    record(shared, tmp_path, "--all", CORTEX_ARCHIVE="s3://logs/runs", CORTEX_STORE_MAX_AGE="90d")
    own = Settings(shared, {"archive": "s3://logs/runs", "max_age_s": "7776000.0"}, administrator=True)
    own.look()
    shared.set_setting("archive", "/tmp/mine")
    shared.set_setting("max_task_bytes", "5")  # not the collector's own
    own.look()
    assert shared.settings(NAMES) == {
        "archive": "s3://logs/runs",
        "max_age_s": "7776000.0",
        "max_task_bytes": "5",
    }
    command(shared, "set", "archive=s3://new/runs")  # an administrator, while the collector runs
    own.look()
    assert shared.setting("archive") == "s3://new/runs"


def test_locked_settings_of_a_private_store_are_not_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite://{tmp_path}/r.sqlite"
    with contextlib.closing(open_store(url)) as store:
        assert command(store, "lock") == 0
        for name, value in (OTHERS | {"CORTEX_ARCHIVE": str(tmp_path / "archive")}).items():
            monkeypatch.setenv(name, value)
        with contextlib.closing(open_store(url)) as again:
            select_archive(again)
            configure_masking(again, wish=True)
        assert store.settings(NAMES) == {}
