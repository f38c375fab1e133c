"""A server answers only pages whose kernel reads the same cluster and store: elsewhere a task of that name is another one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from server.running import Server, logs

from cortex_jupyter.reader.connection import Connection
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from server.tape import Tape

    from cortex_jupyter.store import Store


class Away:
    """Of a cluster or a store that is elsewhere, what tells it from others."""

    def __init__(self, where: str) -> None:
        self.id = self.url = where


def origin(store: Any, cluster: str = "", archive: str = "") -> str:
    return Connection(store, Away(cluster) if cluster else None, archive=Away(archive) if archive else None).origin  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "way", ["logs", "logs?follow=true", "logs.txt", "logs.parquet", "outline", "search?grep=x", "metrics"]
)
def test_every_way_is_closed_to_a_page_of_another_cluster(server: Server, store: Store, done: Tape, way: str) -> None:
    path = logs(done.ref.name, way)
    assert server.get(path, {"X-Cortex-Origin": origin(store)}).status_code == 200
    status, error = server.error(path, {"X-Cortex-Origin": origin(store, "https://other")})
    assert (status, error["code"]) == (409, "OtherCluster") and "kernel" in error["hint"]


def test_so_are_a_stream_of_several_tasks_and_the_page_of_a_link(server: Server, store: Store, done: Tape) -> None:
    other = origin(store, "https://other")
    status, error = server.error(f"cortex/stream?task={done.ref.key}", {"X-Cortex-Origin": other})
    assert (status, error["code"]) == (409, "OtherCluster")
    view = f"cortex/view?task={done.ref.key}&origin="
    assert server.get(view + origin(store)).status_code == 200
    page = server.get(view + other)
    assert page.status_code == 409 and "reads another cluster" in page.text


def test_an_origin_is_of_cluster_store_and_archive(tmp_path: Path) -> None:
    store, other = (open_store(f"sqlite:///{tmp_path / name}.sqlite") for name in ("one", "two"))
    ours = origin(store, "https://a", "s3://logs")
    assert ours == origin(store, "https://a", "s3://logs")
    different = {
        origin(store, "https://b", "s3://logs"),
        origin(other, "https://a", "s3://logs"),
        origin(store, "https://a"),
    }
    assert len(different) == 3 and ours not in different
    store.close(), other.close()
    shutil.copy(tmp_path / "one.sqlite", tmp_path / "copy")
    (tmp_path / "copy").replace(tmp_path / "one.sqlite")
    again = open_store(f"sqlite:///{tmp_path / 'one.sqlite'}")
    assert origin(again, "https://a", "s3://logs") != ours, "another file has its name"
    again.close()


def test_an_origin_stays_when_the_archive_folder_is_made(tmp_path: Path) -> None:
    """The folder is made when it is first looked into, by the kernel or the server."""
    store, folder = open_store(f"sqlite:///{tmp_path / 'one.sqlite'}"), tmp_path / "archive"
    before = origin(store, "https://a", str(folder))
    folder.mkdir()
    assert origin(store, "https://a", str(folder)) == before
    store.close()


def test_an_origin_tells_nothing_of_a_password() -> None:
    """Not even whether a guess is right: it is made without it."""
    urls = ("valkey://me:secret@host/1", "valkey://me:guess@host/1", "valkey://host/1")
    assert len({origin(Away(url), "https://a", "https://u:p@host/logs") for url in urls}) == 1
    assert origin(Away(urls[0])) != origin(Away("valkey://other/1"))
