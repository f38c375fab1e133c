"""`cortex-jupyter store backup` copies a SQLite store as it was at one moment, and `restore` puts it back."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.hand import REF, Hand
from support.valkey import Server

from cortex_jupyter.cli.command_line import run
from cortex_jupyter.model import Batch, TaskRef
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cortex_jupyter.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(open_store(f"sqlite://{tmp_path}/data/recordings.sqlite")) as store:
        yield store


def command(store: Store, action: str, *words: str) -> int:
    return run(["store", action, "--store", store.url, *words])


def texts(store: Store, recording: int) -> list[str]:
    return [
        text for e in store.entries(recording, 0, 1 << 30) if e.event == "log" for text in Batch.decode(e.data).texts
    ]


@contextlib.contextmanager
def writing(store: Store, hand: Hand, number: int) -> Iterator[None]:
    """Write while the block runs, as a recorder does: lines and the count of their container in one transaction."""
    ended, begun = threading.Event(), threading.Event()

    def write() -> None:
        while not ended.is_set():
            hand.lines([(hand.next, 1, f"{number} line {hand.next:06} " + "x" * 200)])
            if hand.next > 20:
                begun.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert begun.wait(60)
        yield
    finally:
        ended.set()
        thread.join()


def test_a_backup_with_writers_at_work_is_one_moment_of_the_store(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hands = [Hand(store, TaskRef("default", "job", f"train-{i}")) for i in range(2)]
    with contextlib.closing(open_store(store.url)) as other, writing(store, hands[0], 0):
        hands[1].store = other
        with writing(other, hands[1], 1):
            assert command(store, "backup", str(tmp_path / "copy")) == 0
            assert "2 recordings" in capsys.readouterr().out
    copy = tmp_path / "copy"
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy"], "something else was left beside the backup"
    assert copy.stat().st_mode & 0o777 == 0o600
    with contextlib.closing(sqlite3.connect(f"{copy.as_uri()}?immutable=1", uri=True)) as db:  # needs no file beside it
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert copy.read_bytes()[18:20] == b"\1\1", "the backup needs a write-ahead log"
    with contextlib.closing(open_store(f"sqlite://{tmp_path}/new/store.sqlite")) as restored:
        assert command(restored, "restore", str(copy)) == 0
        for hand in hands:
            info = restored.info(hand.id)
            assert info is not None and 20 <= info.last_seq <= hand.next
            assert texts(restored, hand.id) == texts(store, hand.id)[: info.last_seq]


def test_a_backup_has_what_is_only_in_the_write_ahead_log(store: Store, tmp_path: Path) -> None:
    """A copy of the file alone lacks it."""
    hand = Hand(store)
    hand.lines([(1, 1, "only in the log")])
    shutil.copy(tmp_path / "data" / "recordings.sqlite", tmp_path / "file-alone")
    with contextlib.closing(sqlite3.connect(tmp_path / "file-alone")) as db, contextlib.suppress(sqlite3.Error):
        assert not db.execute("SELECT * FROM entry").fetchall()
    assert command(store, "backup", str(tmp_path / "copy")) == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "copy")) as db:
        assert len(db.execute("SELECT * FROM entry").fetchall()) == 1


def test_a_restore_replaces_the_store_under_its_readers(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hand = Hand(store)
    hand.lines([(1, 1, "before")])
    assert command(store, "backup", str(tmp_path / "copy")) == 0
    hand.lines([(2, 1, "after")])
    assert command(store, "restore", str(tmp_path / "copy")) == 1
    assert "process" in (said := capsys.readouterr().err) and "recorder" in said, (
        "a living recorder may write meanwhile"
    )
    store.leave("me")
    assert command(store, "restore", str(tmp_path / "copy")) == 1
    assert "--replace" in capsys.readouterr().err
    assert texts(store, hand.id) == ["before", "after"], "a refused restore has changed the store"
    assert command(store, "restore", "--replace", str(tmp_path / "copy")) == 0
    assert "1 recording" in capsys.readouterr().out
    assert texts(store, hand.id) == ["before"], "a reader that had the store open does not see what was restored"
    again = Hand(store)  # the next recorder goes on
    assert again.id == hand.id
    again.next = 2
    again.lines([(2, 1, "after")])
    assert texts(store, hand.id) == ["before", "after"]


@pytest.mark.parametrize("what", ["missing", "no store", "damaged", "newer"])
def test_what_is_no_backup_is_refused(
    what: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    hand = Hand(store)
    for i in range(200):
        hand.lines([(i, 1, f"{i}" * 500)])
    assert command(store, "backup", str(copy)) == 0
    if what == "missing":
        copy.unlink()
    elif what == "no store":
        copy.unlink()
        with contextlib.closing(sqlite3.connect(copy)) as db:
            db.execute("CREATE TABLE other (x)")
    elif what == "damaged":
        data = bytearray(copy.read_bytes())
        data[len(data) // 2 :] = b"\xff" * (len(data) - len(data) // 2)
        copy.write_bytes(data)
    else:
        with contextlib.closing(sqlite3.connect(copy)) as db:
            db.execute("PRAGMA user_version = 99")
            db.execute("INSERT OR REPLACE INTO setting VALUES ('least', '99')")
            db.commit()
    store.leave("me")
    capsys.readouterr()
    assert command(store, "restore", "--replace", str(copy)) == 1
    assert str(copy) in (said := capsys.readouterr().err) and "hint:" in said
    assert len(texts(store, hand.id)) == 200


def test_a_backup_replaces_no_file(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "copy").write_text("precious")
    assert command(store, "backup", str(tmp_path / "copy")) == 1
    assert "exists" in capsys.readouterr().err and (tmp_path / "copy").read_text() == "precious"
    assert command(store, "backup", str(tmp_path / "none" / "copy")) == 1
    assert "cannot write" in capsys.readouterr().err


def test_valkey_is_backed_up_by_its_own_means(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As docs/how-to/backup.md says: a snapshot of a server at work, and a server that begins with it."""
    with Server(tmp_path / "old") as server, contextlib.closing(open_store(server.url)) as store:
        assert command(store, "backup", str(tmp_path / "copy")) == 1
        assert "BGSAVE" in capsys.readouterr().err
        hand = Hand(store)
        with writing(store, hand, 0):
            before = server.ask("LASTSAVE").timestamp()
            while time.time() < before + 1:  # the time of a snapshot is in whole seconds
                time.sleep(0.05)
            server.ask("BGSAVE")
            while server.ask("LASTSAVE").timestamp() <= before:
                time.sleep(0.05)
        (tmp_path / "new").mkdir()
        shutil.copy(server.folder / "dump.rdb", tmp_path / "new")
        written = texts(store, hand.id)
    with Server(tmp_path / "new") as new, contextlib.closing(open_store(new.url)) as restored:
        info = restored.info(hand.id)
        assert info is not None and info.ref == REF and info.last_seq >= 20
        assert texts(restored, hand.id) == written[: info.last_seq]
