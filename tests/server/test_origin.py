"""A server answers only pages whose kernel reads the same cluster and store, where task names mean the same tasks."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from server.running import Server, logs

from cortex_jupyter.reader.connection import Connection
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from server.fake_recorder import FakeRecorder

    from cortex_jupyter.store import Store


class Away:
    """The identity of another cluster or store."""

    def __init__(self, where: str) -> None:
        self.id = self.url = where


def origin(store: Any, cluster: str = "", archive: str = "") -> str:
    return Connection(store, Away(cluster) if cluster else None, archive=Away(archive) if archive else None).origin  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "way",
    [
        "logs",
        "logs?follow=true",
        "logs.txt",
        "logs.parquet",
        "outline",
        "search?grep=x",
        "metrics",
        "patterns",
        "ranks",
    ],
)
def test_every_address_refuses_a_page_of_another_cluster(
    server: Server, store: Store, completed: FakeRecorder, way: str
) -> None:
    path = logs(completed.ref.name, way)
    assert server.get(path, {"X-Cortex-Origin": origin(store)}).status_code == 200
    status, error = server.error(path, {"X-Cortex-Origin": origin(store, "https://other")})
    assert (status, error["code"]) == (409, "OtherCluster") and "kernel" in error["hint"]


@pytest.mark.parametrize("suffix", ["txt", "ndjson", "parquet"])
def test_a_plain_link_to_a_download_names_the_origin_in_its_address(
    server: Server, store: Store, completed: FakeRecorder, suffix: str
) -> None:
    path = logs(completed.ref.name, f"logs.{suffix}?origin=")
    assert server.get(path + origin(store)).status_code == 200
    status, error = server.error(path + origin(store, "https://other"))
    assert (status, error["code"]) == (409, "OtherCluster")


def test_streams_and_viewer_pages_refuse_a_page_of_another_cluster(
    server: Server, store: Store, completed: FakeRecorder
) -> None:
    other = origin(store, "https://other")
    status, error = server.error(f"cortex/stream?task={completed.ref.key}", {"X-Cortex-Origin": other})
    assert (status, error["code"]) == (409, "OtherCluster")
    view = f"cortex/view?task={completed.ref.key}&origin="
    assert server.get(view + origin(store)).status_code == 200
    page = server.get(view + other)
    assert page.status_code == 409 and "reads another cluster" in page.text


def test_an_origin_depends_on_cluster_store_and_archive(tmp_path: Path) -> None:
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
    assert origin(again, "https://a", "s3://logs") != ours, "a new store file under the same name has the same origin"
    again.close()


def test_an_origin_does_not_change_when_the_archive_folder_is_created(tmp_path: Path) -> None:
    """The kernel or the server creates the folder when it first reads it."""
    store, folder = open_store(f"sqlite:///{tmp_path / 'one.sqlite'}"), tmp_path / "archive"
    before = origin(store, "https://a", str(folder))
    folder.mkdir()
    assert origin(store, "https://a", str(folder)) == before
    store.close()


def test_an_origin_does_not_depend_on_a_password() -> None:
    """Otherwise a user could check a guessed password with it."""
    urls = ("valkey://me:secret@host/1", "valkey://me:guess@host/1", "valkey://host/1")
    assert len({origin(Away(url), "https://a", "https://u:p@host/logs") for url in urls}) == 1
    assert origin(Away(urls[0])) != origin(Away("valkey://other/1"))
