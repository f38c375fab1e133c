"""A store of a newer version: used if it admits this version, else refused, also by processes that had it open."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.hand import CLUSTER, Hand, NewStore, recorder, until

from cortex_jupyter.errors import StoreTooNew
from cortex_jupyter.recorder.recorder import Recorder
from cortex_jupyter.store import Commit
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.sqlite.store import SqliteStore
from cortex_jupyter.store.valkey.store import ValkeyStore

if TYPE_CHECKING:
    from cortex_jupyter.store import Store


def upgrade(store: Store, least: int) -> None:
    """Mark a store as a far newer version does; versions from `least` on may continue to use it."""
    if isinstance(store, SqliteStore):
        with closing(sqlite3.connect(store.path, isolation_level=None)) as db:
            db.execute("PRAGMA user_version = 99")
            db.execute("INSERT OR REPLACE INTO setting VALUES ('least', ?)", (str(least),))
    else:
        assert isinstance(store, ValkeyStore)
        store._link.ask("SET", "cortex:version", f"99 {least}")


def test_a_newer_store_is_refused_with_a_hint(store: Store) -> None:
    upgrade(store, 99)
    with pytest.raises(StoreTooNew, match="newer version of cortex-jupyter") as caught:
        open_store(store.url)
    assert "update cortex-jupyter" in caught.value.hint


def test_a_newer_store_that_admits_this_version_is_used(store: Store, hand: Hand) -> None:
    hand.lines([(1, 1, "before")])
    upgrade(store, 1)
    hand.lines([(2, 1, "after")])
    again = open_store(store.url)
    assert again.complete(hand.id).records == 2
    again.close()


async def test_a_process_that_had_the_store_open_stops_using_it(store: Store, hand: Hand) -> None:
    hand.lines([(1, 1, "before")])
    upgrade(store, 99)
    for write in (
        lambda: hand.lines([(2, 1, "after")]),
        lambda: hand.source(2),
        lambda: store.commit(hand.lease, Commit(update={"state": "failed"})),
        lambda: store.lease(hand.id, "other"),
        lambda: store.beat(recorder()),
        lambda: store.want(hand.id, 30),
    ):
        with pytest.raises(StoreTooNew):
            write()

    def read() -> bool:
        try:
            return not store.complete(hand.id)
        except StoreTooNew:
            return True

    await until(read)  # the version of a server is checked every few seconds
    with pytest.raises(StoreTooNew):
        store.entries(hand.id, 0, 1000)


async def test_a_recorder_ends_with_the_reason(new_store: NewStore) -> None:
    with new_store() as store:
        cluster: Any = type("Api", (), {"id": CLUSTER})()
        run = asyncio.create_task(Recorder(store, cluster).run())
        await until(lambda: store.recorder(CLUSTER))
        upgrade(store, 99)
        with pytest.raises(StoreTooNew):
            await run


def test_unknown_fields_of_a_newer_recorder_are_ignored(store: Store) -> None:
    me = recorder()
    store.beat(me)
    if isinstance(store, SqliteStore):
        with closing(sqlite3.connect(store.path, isolation_level=None)) as db:
            db.execute("UPDATE setting SET value=json_set(value, '$.mood', 'good') WHERE key GLOB 'recorder*'")
    else:
        assert isinstance(store, ValkeyStore)
        key = f"cortex:recorder:{me.id}"
        store._link.ask(
            "SET", key, orjson.dumps(orjson.loads(store._link.ask("GET", key)) | {"mood": "good"}), "KEEPTTL"
        )
    assert [one.id for one in store.recorders(CLUSTER)] == [me.id]


def test_an_older_recorder_understands_this_ones_fields(store: Store) -> None:
    """It expects exactly the fields that it knows in one of the places."""
    me = replace(recorder(), namespaces=("ml",), selection="x", rights="r")
    store.beat(me)
    if isinstance(store, SqliteStore):
        said = orjson.loads(store.setting(f"recorder:{me.id}"))
        assert said.keys() == {"version", "since", "port"}
    else:
        assert isinstance(store, ValkeyStore)
        said = orjson.loads(store._link.ask("GET", f"cortex:recorder:{me.id}"))["recorder"]
        assert [*said] == ["id", "cluster", "host", "pid", "heartbeat"]
