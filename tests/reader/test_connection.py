"""Readers share one store and one cluster, however many ask for it at once."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from cluster.conftest import kubeconfig

from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.errors import ArchiveError, NoCluster
from cortex_jupyter.reader import connection as lib
from cortex_jupyter.reader.connection import Connection
from cortex_jupyter.server.app import CortexJupyter
from cortex_jupyter.server.service import Service
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cortex_jupyter.store import Store

VERSION = "client.authentication.k8s.io/v1"


class ClusterAppearsLater:
    """A connection without a cluster; its kubeconfig, with a credential plugin, appears later."""

    def __init__(self, folder: Path, connection: Connection) -> None:
        self.folder, self.connection = folder, connection

    @property
    def runs(self) -> int:
        """How many times the plugin has run."""
        path = self.folder / "runs"
        return len(path.read_text()) if path.exists() else 0

    def configure(self, *, broken: bool = False) -> None:
        credential = {"apiVersion": VERSION, "kind": "ExecCredential", "status": {"token": "x"}}
        end = "sys.exit('no session')" if broken else f"print({json.dumps(credential)!r})"
        program = self.folder / "plugin.py"
        # The plugin waits until the test lets it go on, so that all requests come while it runs.
        program.write_text(
            f"import os, sys, time\nopen({str(self.folder / 'runs')!r}, 'a').write('x')\n"
            f"while not os.path.exists({str(self.folder / 'go')!r}): time.sleep(0.01)\n{end}\n"
        )
        user: dict[str, Any] = {"apiVersion": VERSION, "command": sys.executable, "args": [str(program)]}
        kubeconfig(self.folder / "config", "https://127.0.0.1:1", {"exec": user | {"interactiveMode": "Never"}})

    async def ask(self, times: int) -> list[asyncio.Task[Cluster]]:
        """Ask several times at once; return when the plugin runs."""
        before = self.runs
        asked = [asyncio.create_task(self.connection.connected()) for _ in range(times)]
        async with asyncio.timeout(60):
            while self.runs == before:  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.01)
        return asked

    def go(self) -> None:
        (self.folder / "go").touch()


@pytest.fixture
async def late(tmp_path: Path) -> AsyncIterator[ClusterAppearsLater]:
    connection = await Connection.connect(f"sqlite://{tmp_path}/s.sqlite", str(tmp_path / "config"))
    assert connection.cluster is None
    yield ClusterAppearsLater(tmp_path, connection)
    await connection.close()


async def test_concurrent_requests_for_the_cluster_share_one_opening(late: ClusterAppearsLater) -> None:
    late.configure()
    asked = await late.ask(3)
    late.go()
    opened = await asyncio.gather(*asked)
    assert late.runs == 1 and {id(one) for one in opened} == {id(late.connection.cluster)}
    assert await late.connection.connected() is late.connection.cluster


async def test_a_cancelled_request_does_not_cancel_the_opening_for_others(late: ClusterAppearsLater) -> None:
    late.configure()
    first, second = await late.ask(2)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    late.go()
    assert await second is late.connection.cluster and late.runs == 1


async def test_a_failed_opening_fails_for_all_waiting_requests_and_the_next_request_tries_again(
    late: ClusterAppearsLater,
) -> None:
    late.configure(broken=True)
    asked = await late.ask(3)
    late.go()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(one) for one in results} == {NoCluster} and late.runs == 1
    late.configure()
    assert await late.connection.connected() is late.connection.cluster and late.runs == 2


async def test_closing_while_the_cluster_opens_leaves_no_cluster_open(tmp_path: Path) -> None:
    late = ClusterAppearsLater(tmp_path, Connection(open_store(f"sqlite://{tmp_path}/s.sqlite"), None))
    late.connection._configured = {"kubeconfig": str(tmp_path / "config")}
    late.configure()
    (asked,) = await late.ask(1)
    await late.connection.close()
    late.go()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert late.connection.cluster is None


class SlowCluster:
    """The number of opened and closed stores, while a cluster's configuration takes long: it has a slow credential plugin."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = self.closed = 0
        self.began, self.go = asyncio.Event(), asyncio.Event()
        monkeypatch.setattr(lib, "open_store", self._open_store)
        monkeypatch.setattr(Cluster, "open", self._open_cluster)

    def _open_store(self, *args: Any) -> Store:
        store = open_store(*args)
        close = store.close

        def count() -> None:
            self.closed += 1
            close()

        store.close = count  # type: ignore[method-assign]
        self.opened += 1
        return store

    async def _open_cluster(self, *_: Any, **__: Any) -> Cluster:
        self.began.set()
        await self.go.wait()
        raise NoCluster("none")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowCluster:
    return SlowCluster(monkeypatch)


async def test_a_cancelled_connecting_leaves_no_store_open(slow: SlowCluster, tmp_path: Path) -> None:
    connecting = asyncio.create_task(Connection.connect(f"sqlite://{tmp_path}/s.sqlite"))
    await slow.began.wait()
    connecting.cancel()
    await asyncio.wait([connecting])
    assert connecting.cancelled() and (slow.opened, slow.closed) == (1, 1)


async def test_a_connecting_that_fails_late_leaves_no_store_open(slow: SlowCluster, tmp_path: Path) -> None:
    def refuse(_: Store) -> None:
        raise ArchiveError("no bucket")

    slow.go.set()
    with pytest.raises(ArchiveError):
        await Connection.connect(f"sqlite://{tmp_path}/s.sqlite", archive=refuse)
    assert (slow.opened, slow.closed) == (1, 1)


async def test_requests_that_are_cancelled_share_one_store_with_the_later_ones(
    slow: SlowCluster, tmp_path: Path
) -> None:
    """A list of all clusters waits 20 s for each; a page asks for it again and again."""
    service = Service(CortexJupyter(store_url=f"sqlite://{tmp_path}/s.sqlite"))
    for _ in range(3):
        request = asyncio.create_task(service.recordings())
        await slow.began.wait()
        request.cancel()
        await asyncio.wait([request])
        assert request.cancelled() and (slow.opened, slow.closed) == (1, 0)
    slow.go.set()
    session = await service.recordings()
    assert session is await service.recordings() and (slow.opened, slow.closed) == (1, 0)
    await service.close()
    assert (slow.opened, slow.closed) == (1, 1)


async def test_a_server_that_ends_while_it_connects_leaves_no_store_open(slow: SlowCluster, tmp_path: Path) -> None:
    service = Service(CortexJupyter(store_url=f"sqlite://{tmp_path}/s.sqlite"))
    request = asyncio.create_task(service.recordings())
    await slow.began.wait()
    request.cancel()
    await asyncio.wait([request])
    await service.close()
    assert (slow.opened, slow.closed) == (1, 1)
