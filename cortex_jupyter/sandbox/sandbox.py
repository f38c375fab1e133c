"""Start and stop a sandbox: its port, its files, its kubeconfig, and every process that its pods started."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml
from aiohttp import web

from cortex_jupyter.sandbox.config import Config
from cortex_jupyter.sandbox.controllers import Controllers
from cortex_jupyter.sandbox.customresources import Definitions
from cortex_jupyter.sandbox.faults import Fault, Faults
from cortex_jupyter.sandbox.kubelet import NODE, NODE_LABELS, Kubelet
from cortex_jupyter.sandbox.objects import Store, now
from cortex_jupyter.sandbox.resources import BUILT_IN, VERSION
from cortex_jupyter.sandbox.server import Server

if TYPE_CHECKING:
    import asyncio

NAMESPACES = ("default", "kube-system", "ml")


class Sandbox:
    """A Kubernetes API on loopback whose pods are local processes.

    Parameters
    ----------
    root : path, optional
        Folder for log files and the kubeconfig. The default is a temporary folder, removed at the end.
    port : int
        TCP port on 127.0.0.1; 0 picks a free one.
    kubeconfig : path, optional
        Where to write the kubeconfig (default: `ROOT/kubeconfig`).
    config : Config, optional
        Sizes and delays.

    Attributes
    ----------
    kubeconfig : Path
        Path of the kubeconfig; the file exists while the sandbox runs.
    url : str
        Address of the API; it ends in a secret path (see the module `server`).
    faults : Faults
        The faults in force; see `cortex_jupyter.sandbox.faults`.

    Examples
    --------
    >>> import asyncio
    >>> async def main():
    ...     async with Sandbox() as sandbox:
    ...         return sandbox.kubeconfig.exists()
    >>> asyncio.run(main())
    True
    """

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        port: int = 0,
        kubeconfig: str | Path | None = None,
        config: Config | None = None,
    ) -> None:
        self._temporary = root is None
        self.root = Path(tempfile.mkdtemp(prefix="cortex-sandbox-") if root is None else root).resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        self.kubeconfig = Path(kubeconfig or self.root / "kubeconfig").resolve()
        self.token = secrets.token_urlsafe(24)
        self.url = ""
        self._prefix = f"/{secrets.token_urlsafe(12)}"
        self._port = port
        self.store, self.faults = Store(), Faults()
        settings = config or Config()
        self.kubelet = Kubelet(self.store, self.faults, settings, self.root)
        self.controllers = Controllers(self.store, self.kubelet.config)
        Definitions(self.store)
        self.faults.apply = self._apply_fault
        self.faults.on_change = self.kubelet.wake_all
        self._server = Server(self.kubelet, self.token, self._prefix)
        self._runner = web.AppRunner(
            self._server.app,
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=1.0,
            keepalive_timeout=settings.idle,
        )

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _start(self) -> None:
        self._create_cluster()
        self.kubelet.start()
        self.controllers.start()
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self.kubelet.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}{self._prefix}"
        self._write_kubeconfig()

    async def __aexit__(self, *_: object) -> None:
        await self.controllers.close()
        await self.kubelet.close()
        await self._runner.cleanup()
        with contextlib.suppress(FileNotFoundError):
            self.kubeconfig.unlink()
        if self._temporary:
            shutil.rmtree(self.root, ignore_errors=True)

    async def fault(self, kind: str, **options: Any) -> Fault:
        """Put a fault in force; carry it out now if its kind acts once.

        Raises
        ------
        ApiError
            400 if the kind or a parameter is not in the table of `faults`.
        """
        fault = self.faults.add({"kind": kind, **options})
        await self._apply_fault(fault)
        return fault

    async def _apply_fault(self, fault: Fault) -> None:
        if fault.kind == "expire":
            self.store.expire()
        if fault.kind == "idle" and self._runner.server is not None:
            for connection in self._runner.server.connections:
                if connection.transport not in self._server.busy_connections:
                    connection.force_close()
        await self.kubelet.apply_fault(fault)

    def _create_cluster(self) -> None:
        for name in NAMESPACES:
            labels = {"kubernetes.io/metadata.name": name}
            self.store.create(
                BUILT_IN["namespaces"],
                {"metadata": {"name": name, "labels": labels}, "spec": {}, "status": {"phase": "Active"}},
            )
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "kubelet is posting ready status",
            "lastTransitionTime": now(),
        }
        addresses = [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": NODE}]
        info = {
            "kubeletVersion": VERSION["gitVersion"],
            "operatingSystem": "linux",
            "architecture": "amd64",
            "containerRuntimeVersion": "containerd://sandbox",
        }
        node = {
            "metadata": {"name": NODE, "labels": NODE_LABELS},
            "spec": {},
            "status": {"conditions": [ready], "addresses": addresses, "nodeInfo": info},
        }
        self.store.create(BUILT_IN["nodes"], node)

    def _write_kubeconfig(self) -> None:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sandbox", "cluster": {"server": self.url}}],
            "users": [{"name": "sandbox", "user": {"token": self.token}}],
            "contexts": [
                {"name": "sandbox", "context": {"cluster": "sandbox", "user": "sandbox", "namespace": "default"}}
            ],
            "current-context": "sandbox",
        }
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(yaml.safe_dump(document, sort_keys=False))


async def run(sandbox: Sandbox, stop: asyncio.Event) -> None:
    """Run a sandbox until `stop` is set; print the path of its kubeconfig on a line of its own when it is ready."""
    async with sandbox:
        print(sandbox.kubeconfig, flush=True)  # noqa: T201 - callers read this line
        await stop.wait()
