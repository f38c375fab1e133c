"""A server for several users with several clusters and one store."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from server.running import Server, run_server
from server.test_access import ALICE
from support.jupyter import Home
from support.ports import free_port

from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from conftest import NewSandbox, SandboxProcess


class Clusters:
    """A server for several users with the clusters `one` and `two`, `away` (does not answer) and `none` (no kubeconfig).

    The environment names a cluster too, as it does where a server had one before.
    """

    def __init__(self, server: Server, one: SandboxProcess, two: SandboxProcess) -> None:
        self.server, self.one, self.two = server, one, two

    def get(self, cluster: str, way: str, who: dict[str, str] = ALICE) -> httpx.Response:
        return self.server.get(way.replace("cortex/", f"cortex/clusters/{cluster}/"), who)

    @property
    def names(self) -> set[str]:
        """The clusters of all recordings."""
        store = open_store(self.server.store_url)
        try:
            return {info.cluster for info in store.recordings()}
        finally:
            store.close()


@contextlib.contextmanager
def run_clusters(folder: Path, sandbox_process: SandboxProcess, new_sandbox: NewSandbox) -> Iterator[Clusters]:
    """Run the server, and a second sandbox, while the block runs."""
    home = Home(folder, sandbox_process.kubeconfig)
    away = yaml.safe_load(sandbox_process.kubeconfig.read_text())
    for cluster in away["clusters"]:
        cluster["cluster"]["server"] = f"http://127.0.0.1:{free_port()}"
    (folder / "away").write_text(yaml.safe_dump(away))
    with new_sandbox(folder / "two", "--bookmark", "1", "--log-check", "1") as two:
        places = {
            "one": {"kubeconfig": str(sandbox_process.kubeconfig)},
            "two": {"kubeconfig": str(two.kubeconfig)},
            "away": {"kubeconfig": str(folder / "away")},
            "none": {"kubeconfig": "/nowhere"},
        }
        (folder / "config.py").write_text(f"c.CortexJupyter.clusters = {places!r}\n")
        with run_server(
            folder,
            f"--config={folder}/config.py",
            "--ServerApp.identity_provider_class=server.people.People",
            "--CortexJupyter.access_for=user",
            "--CortexJupyter.heartbeat_s=0.2",
            kubeconfig=sandbox_process.kubeconfig,
            PYTHONPATH=f"{Path(__file__).parents[1]}:{home.env.get('PYTHONPATH', '')}",
            CORTEX_AUDIT_LOG=str(folder / "audit.log"),
            CORTEX_CLUSTER="all",
        ) as server:
            yield Clusters(server, sandbox_process, two)
        home.end()
