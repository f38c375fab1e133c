from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from support.kube import Kube


@dataclass
class Cli:
    """The command line with its own environment."""

    env: dict[str, str]

    def command(self, *arguments: str) -> list[str]:
        # `CORTEX_TEST_OLD` ignores deprecation warnings of old releases, which we cannot fix. `-W` names single modules, no
        # packages, so it ignores warnings of our own code too; `make test` finds those.
        old = ("-W", "ignore::DeprecationWarning") if os.environ.get("CORTEX_TEST_OLD") else ()
        return [sys.executable, "-W", "error", *old, "-m", "cortex_jupyter.cli", *arguments]

    def __call__(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), env=self.env, capture_output=True, text=True, check=False, timeout=60, **options
        )

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.Popen(self.command(*arguments), env=self.env, text=True, **pipe)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CORTEX_", "KUBECONFIG", "JUPYTER_"))}
    return kept | {"CORTEX_STORE": f"sqlite:///{tmp_path / 'recordings.sqlite'}", "HOME": str(tmp_path)}


@pytest.fixture
def cli(env: dict[str, str], tmp_path: Path) -> Cli:
    """The command line without a cluster: it reads recordings."""
    return Cli(env | {"KUBECONFIG": str(tmp_path / "no-kubeconfig")})


@pytest.fixture
def live(env: dict[str, str], sandbox: Any) -> Cli:
    """The command line with the sandbox."""
    return Cli(env | {"KUBECONFIG": str(sandbox.kubeconfig)})


def job(kube: Kube, name: str, script: str, **spec: Any) -> None:
    """Start a Job of one container that runs a shell script."""
    container = {"name": "main", "image": "busybox", "command": ["sh", "-c", script]}
    pod = {"restartPolicy": "Never", "containers": [container]}
    kube.request(
        "POST",
        "/apis/batch/v1/namespaces/default/jobs",
        json={
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": {"spec": pod}, **spec},
        },
    ).raise_for_status()
