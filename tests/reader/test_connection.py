"""Readers share one store and one cluster, however many ask for it at once."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from cluster.conftest import kubeconfig

from cortex_jupyter.errors import NoCluster
from cortex_jupyter.reader.connection import Connection
from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cortex_jupyter.cluster.session import Cluster

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
