"""A store that lost its last commits gives their `seq` to other lines.

A cursor from before the loss must then be refused. It must never lead to those other lines.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import aclosing, closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from support.hand import CLUSTER, REF, Hand, recorder
from support.valkey import Server

from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.objects import ObjectStore
from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.errors import CursorNotHeld
from cortex_jupyter.model import EVERY_SEQ, MAX_EPOCHS, Batch, Cursor
from cortex_jupyter.reader.feed import Feed
from cortex_jupyter.reader.pages import following, newest
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cortex_jupyter.store import RecordingInfo, Store


class Machine:
    """A machine whose power can be cut. The store then loses all commits since `sync`."""

    def __init__(self, url: str, sync: Callable[[], None], cut: Callable[[], None]) -> None:
        self.store: Store = open_store(url)
        self.url, self.sync, self._cut = url, sync, cut

    def cut(self) -> None:
        self.store.close()
        self._cut()
        self.store = open_store(self.url)

    def restart_recorder(self, hand: Hand) -> Hand:
        """Return a fake recorder that continues the recording after the power cut."""
        self.store.leave("me")  # its heartbeat has expired
        continued = Hand(self.store, owner="after")
        assert continued.id == hand.id
        continued.next = self.info(hand).last_seq + 1
        return continued

    def info(self, hand: Hand) -> RecordingInfo:
        info = self.store.info(hand.id)
        assert info is not None
        return info


@contextmanager
def _sqlite(folder: Path) -> Iterator[Machine]:
    path, synced = folder / "r.sqlite", folder / "synced"

    def sync() -> None:
        synced.mkdir(exist_ok=True)
        for file in (path, folder / "r.sqlite-wal"):
            shutil.copy(file, synced)

    def cut() -> None:
        for suffix in ("", "-wal", "-shm"):
            (folder / f"r.sqlite{suffix}").unlink(missing_ok=True)
        for file in synced.iterdir():
            shutil.copy(file, folder)

    machine = Machine(f"sqlite://{path}", sync, cut)
    yield machine
    machine.store.close()


@contextmanager
def _valkey(folder: Path) -> Iterator[Machine]:
    with Server(folder / "v", appendonly="yes", appendfsync="always") as server:
        (file,) = (folder / "v/appendonlydir").glob("*.incr.aof")
        size = [0]

        def cut() -> None:
            server.kill()
            os.truncate(file, size[0])
            server.start()

        machine = Machine(server.url, lambda: size.__setitem__(0, file.stat().st_size), cut)
        yield machine
        machine.store.close()


@pytest.fixture(params=[_sqlite, _valkey], ids=["sqlite", "valkey"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    with request.param(tmp_path) as one:
        yield one


async def cursors(store: Store, id_: int, after: int = 0, many: int = 99) -> list[str]:
    """Return the cursors of the events that a reader receives."""
    cursor_texts: list[str] = []
    async with aclosing(Feed(store, id_).events(after)) as events:
        async for event in events:
            cursor_texts.append(event.cursor)
            if len(cursor_texts) == many:
                break
    return cursor_texts


async def test_cursors_among_lost_lines_are_refused_and_earlier_ones_stay_valid(machine: Machine) -> None:
    hand = Hand(machine.store)
    for i in range(3):
        hand.lines([(i, 1, f"kept {i}")])
    machine.sync()
    for i in range(3):
        hand.lines([(10 + i, 1, f"lost {i}")])
    cursors_before = [Cursor.parse(text) for text in await cursors(machine.store, hand.id, many=6)]
    page = newest(machine.store, hand.id, limit=2)
    forward = following(machine.store, hand.id, after=cursors_before[1], limit=2).newer
    assert [machine.info(hand).check(cursor).seq for cursor in cursors_before] == [1, 2, 3, 4, 5, 6]

    machine.cut()
    assert machine.info(hand).last_seq == 3
    for cursor in (*cursors_before[3:], page.newer, page.older):
        with pytest.raises(CursorNotHeld, match="power cut"):  # nothing is recorded at that `seq` yet
            machine.info(hand).check(cursor)  # type: ignore[arg-type]
    after = machine.restart_recorder(hand)
    for i in range(9):
        after.lines([(20 + i, 1, f"other {i}")])
    for cursor in (*cursors_before[3:], page.newer, page.older, forward):
        with pytest.raises(CursorNotHeld, match="power cut"):
            machine.info(hand).check(cursor)  # type: ignore[arg-type]
    assert [machine.info(hand).check(cursor).seq for cursor in cursors_before[:3]] == [1, 2, 3]
    follows = following(machine.store, hand.id, after=cursors_before[2], limit=99)
    assert [r.text for r in follows.records] == [f"other {i}" for i in range(9)]
    # While older lines are being backfilled, a page's cursor is a time without a `seq`, so no epoch is checked.
    assert machine.info(hand).check(Cursor(hand.id, EVERY_SEQ, (5, 0)))


async def test_a_reader_that_outlives_the_stores_machine_gets_an_error(machine: Machine, tmp_path: Path) -> None:
    """A server elsewhere has the stream open while the store and its recorder lose their power."""
    hand = Hand(machine.store)
    hand.lines([(1, 1, "kept")])
    machine.sync()
    hand.lines([(2, 1, "lost"), (3, 1, "lost too")])
    (*_, last) = await cursors(machine.store, hand.id, many=2)
    cursor = Cursor.parse(last)
    machine.cut()
    after = machine.restart_recorder(hand)
    after.lines([(4, 1, "other"), (5, 1, "other"), (6, 1, "silently skipped?"), (7, 1, "and these")])
    async with aclosing(Feed(machine.store, hand.id).bursts(cursor.seq, epoch=cursor.epoch)) as bursts:
        with pytest.raises(CursorNotHeld, match="power cut"):
            await anext(bursts)


async def test_only_a_reader_that_had_read_lost_lines_gets_an_error(machine: Machine) -> None:
    hand = Hand(machine.store)
    hand.lines([(1, 1, "kept")])
    machine.sync()
    hand.lines([(2, 1, "lost"), (3, 1, "lost too")])
    cursor = Cursor.parse((await cursors(machine.store, hand.id, many=2))[-1])
    machine.cut()
    after = machine.restart_recorder(hand)
    for i in range(6):
        after.lines([(4 + i, 1, f"other {i}")])
    feed = Feed(machine.store, hand.id)
    async with aclosing(feed.events()) as fresh:
        seen = [(await anext(fresh)).last for _ in range(7)]  # the feed now reads for all subscribers
        with pytest.raises(CursorNotHeld):
            async with aclosing(feed.bursts(cursor.seq, epoch=cursor.epoch)) as bursts:
                await anext(bursts)
        after.lines([(99, 1, "more")])
        assert seen == [1, 2, 3, 4, 5, 6, 7] and (await anext(fresh)).last == 8


async def test_cursors_stay_valid_after_takeovers_without_loss(machine: Machine) -> None:
    """However recorders are killed, nothing is lost and no page loads its window again."""
    store = machine.store
    hand = Hand(store)
    for turn in range(5):
        lease = store.lease(hand.id, "me")
        assert lease is not None
        hand.lease = lease
        for i in range(3 if turn % 2 else 0):  # some recorders write nothing
            hand.lines([(i, 1, "x")])
    found = await cursors(store, hand.id, many=6)
    for cursor in (*found, "0", f"{hand.id}-0"):
        assert machine.info(hand).check(Cursor.parse(cursor))
    assert len(machine.info(hand).epochs) == 3, "a recorder that wrote nothing has added an epoch"
    for _ in range(2 * MAX_EPOCHS):
        hand.lease = store.lease(hand.id, "me")  # type: ignore[assignment]
        hand.lines([(1, 1, "y")])
    assert len(machine.info(hand).epochs) == MAX_EPOCHS
    *_, newest_place = await cursors(store, hand.id, many=6 + 2 * MAX_EPOCHS)
    assert machine.info(hand).check(Cursor.parse(newest_place))
    old = Cursor.parse(found[0])
    with pytest.raises(CursorNotHeld, match="older than the newest 64 recorders"):  # refused rather than guessed
        machine.info(hand).check(old)
    async with aclosing(Feed(store, hand.id).bursts(old.seq, epoch=old.epoch)) as bursts:
        with pytest.raises(CursorNotHeld, match="older than the newest 64 recorders"):
            await anext(bursts)


async def test_cursors_from_before_epochs_are_valid_for_lines_recorded_then(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with closing(SqliteStore(path)) as store:
        hand = Hand(store)
        hand.lines([(1, 1, "a"), (2, 1, "b")])
    with closing(sqlite3.connect(path)) as db:  # as in version 4 of the tables
        db.executescript("ALTER TABLE recording DROP COLUMN epochs; DELETE FROM setting; PRAGMA user_version = 4;")
    with closing(SqliteStore(path)) as store:
        old = Cursor.parse(f"{hand.id}-2")
        info = store.info(hand.id)
        assert info is not None and info.check(old) == old
        assert [r.text for r in newest(store, hand.id, limit=9).records] == ["a", "b"]
        store.leave("me")
        later = Hand(store, owner="later")
        later.next = 3
        later.lines([(3, 1, "c")])
        info = store.info(hand.id)
        assert info is not None and info.check(old) == old, (
            "a cursor from before the takeover is refused although no line was lost"
        )
        with pytest.raises(CursorNotHeld):  # a cursor of an old version, at a `seq` of a later epoch
            info.check(Cursor.parse(f"{hand.id}-3"))
        # Programs of the previous version continue to use the file, since the new column only adds to it.
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT value FROM setting WHERE key='least'").fetchone() == ("4",)


async def test_a_cursor_stays_valid_when_its_recording_moved_to_the_archive(machine: Machine, tmp_path: Path) -> None:
    hand = Hand(machine.store)
    sid = hand.source()
    hand.lines([(1, sid, "a"), (2, sid, "b")])
    machine.store.beat(recorder("next"))
    hand.lease = machine.store.lease(hand.id, "me")  # type: ignore[assignment]
    hand.lines([(3, sid, "c")])
    hand.end()
    found = await cursors(machine.store, hand.id)
    url = str(tmp_path / "archive")
    Catalog(ObjectStore(url)).put(machine.store, hand.id)
    archive = ArchiveStore(url)
    info = archive.find(REF, CLUSTER)
    assert info is not None and info.epochs == machine.info(hand).epochs
    assert [info.check(Cursor.parse(text)).seq for text in found] == [2, 3, 4]
    assert await cursors(archive, hand.id, after=2) == found[1:]
    entries = archive.entries(hand.id, 0, 1 << 20)
    assert [Batch.decode(e.data).texts for e in entries if e.event == "log"] == [["a", "b", "c"]]
    with pytest.raises(CursorNotHeld):
        info.check(Cursor.parse(f"{hand.id}-3-77"))
