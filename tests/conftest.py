"""Fixtures shared by the tests of several rooms: the sandbox, the cluster under test, and stores.

`sandbox` is one process for the whole session, so each test uses unique names (`unique`) and cleans up. `target` is that
sandbox or, with `CORTEX_TEST_CLUSTER=real`, the cluster of KUBECONFIG. `filled` is a recording that a test fills itself.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.crowd import Crowd, crowded
from support.filled import Filled, new_store
from support.kube import Kube, KubeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cortex_jupyter.store import Store

#: The configuration file of a JupyterHub; only JupyterHub can execute it.
collect_ignore = ["support/hub_config.py"]


@dataclass
class SandboxProcess:
    """A running `python -m cortex_jupyter.sandbox`."""

    kubeconfig: Path
    root: Path
    pid: int
    kube: Kube

    def fault(self, kind: str, **options: Any) -> dict[str, Any]:
        """Put a fault in force; see `cortex_jupyter.sandbox.faults`."""
        response = self.kube.request("POST", "/sandbox/faults", json={"kind": kind, **options})
        if response.is_error:
            raise KubeError(response)
        fault: dict[str, Any] = response.json()
        return fault

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults in force."""
        faults: list[dict[str, Any]] = self.kube.request("GET", "/sandbox/faults").json()["faults"]
        return faults

    def clear(self) -> None:
        """Remove all faults."""
        self.kube.request("DELETE", "/sandbox/faults")


@contextlib.contextmanager
def run_sandbox(root: Path, *options: str) -> Iterator[SandboxProcess]:
    """Run a sandbox process while the block runs."""
    command = [sys.executable, "-m", "cortex_jupyter.sandbox", "--root", str(root), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline().strip()
        assert line, f"the sandbox exited with code {process.wait()} before it was ready"
        kube = Kube(line)
        try:
            yield SandboxProcess(Path(line), root, process.pid, kube)
        finally:
            kube.close()
    finally:
        process.terminate()
        process.wait(120)
        process.stdout.close()


#: Runs a separate sandbox: `with new_sandbox(root, *options) as sandbox`.
NewSandbox = Callable[..., contextlib.AbstractContextManager[SandboxProcess]]


@pytest.fixture(scope="session")
def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with run_sandbox(
        tmp_path_factory.mktemp("sandbox"), "--bookmark", "1", "--log-check", "1", "--job-backoff", "0.2"
    ) as process:
        yield process


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> Iterator[SandboxProcess]:
    yield sandbox_process
    sandbox_process.clear()


@pytest.fixture(scope="session")
def new_sandbox() -> NewSandbox:
    """Return a function that runs a separate sandbox: `with new_sandbox(root, *options) as sandbox`."""
    return run_sandbox


@pytest.fixture
def kube(request: pytest.FixtureRequest) -> Iterator[Kube]:
    """Return a client of the sandbox; in a test marked `cluster`, a client of the cluster of KUBECONFIG."""
    if request.node.get_closest_marker("cluster") is None:
        yield request.getfixturevalue("sandbox").kube
        return
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG is not set")
    client = Kube(os.environ["KUBECONFIG"])
    yield client
    client.close()


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Return a function that makes a prefix a unique name."""
    return lambda prefix: f"{prefix}-{uuid.uuid4().hex[:6]}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a new, empty store."""
    store = new_store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def filled(store: Store) -> Filled:
    """Return a recording in the store, which the test fills itself."""
    return Filled(store)


@dataclass
class Target:
    """The cluster under test."""

    kube: Kube
    real: bool
    minor: int

    def needs(self, minor: int, feature: str) -> None:
        """Skip on a cluster that is older than 1.`minor`."""
        if self.minor < minor:
            pytest.skip(f"Kubernetes 1.{self.minor}: {feature} came with 1.{minor}")


@pytest.fixture(scope="session")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    """Return a namespace of 1 000 pods on the cluster under test; a separate sandbox, so that other tests stay fast."""
    if os.environ.get("CORTEX_TEST_CLUSTER") == "real":
        kube = Kube(os.environ["KUBECONFIG"])
        with contextlib.closing(kube), crowded(kube, real=True) as crowd_namespace:
            yield crowd_namespace
        return
    with (
        run_sandbox(tmp_path_factory.mktemp("crowd"), "--bookmark", "1", "--log-check", "1") as process,
        crowded(process.kube, real=False) as crowd_namespace,
    ):
        yield crowd_namespace


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    real = os.environ.get("CORTEX_TEST_CLUSTER") == "real"
    if real and not os.environ.get("KUBECONFIG"):
        pytest.fail("CORTEX_TEST_CLUSTER=real needs KUBECONFIG")
    kube = Kube(os.environ["KUBECONFIG"]) if real else request.getfixturevalue("sandbox_process").kube
    minor = int(kube.request("GET", "/version").json()["minor"].rstrip("+"))
    yield Target(kube, real, minor)
    if real:
        kube.close()
