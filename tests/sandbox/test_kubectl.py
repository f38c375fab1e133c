"""kubectl works against the sandbox for the usual tasks."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.kube import python_job, python_pod

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import SandboxProcess
    from support.kube import Kube

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")


TUNERS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "tuners.tuning.example.org"},
    "spec": {
        "group": "tuning.example.org",
        "scope": "Namespaced",
        "names": {"plural": "tuners", "kind": "Tuner", "shortNames": ["tn"], "categories": ["all"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "job status", "type": "string", "jsonPath": ".status.jobStatus"}],
            }
        ],
    },
}


@pytest.fixture
def kubectl(sandbox: SandboxProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "cache"))  # discovery of another sandbox on the same port

    def run(*arguments: str, manifest: dict[str, Any] | None = None) -> str:
        command = ["kubectl", "--kubeconfig", str(sandbox.kubeconfig), *arguments]
        result = subprocess.run(
            command,
            input=json.dumps(manifest) if manifest else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def test_a_job_from_apply_to_delete(kubectl: Callable[..., str], unique: Callable[[str], str]) -> None:
    name = unique("kubectl")
    manifest = python_job(name, "import time\nfor i in range(5): print(i); time.sleep(0.05)", parallelism=2)
    assert "created" in kubectl("apply", "-f", "-", manifest=manifest)
    assert "unchanged" in kubectl("apply", "-f", "-", manifest=manifest)
    kubectl("wait", "--for=condition=complete", f"job/{name}", "--timeout=30s")
    assert re.search(rf"{name}\s+Complete\s+2/2", kubectl("get", "jobs"))
    assert len(re.findall(rf"{name}-\w+\s+0/1\s+Completed\s+0", kubectl("get", "pods"))) == 2
    assert kubectl("logs", f"job/{name}", "--tail=2") == "3\n4\n"
    prefixed = kubectl("logs", "-l", f"job-name={name}", "--prefix", "--timestamps")
    assert len(re.findall(rf"\[pod/{name}-\w+/main\] \S+Z [0-4]\n", prefixed)) == 10
    kubectl("delete", "job", name)
    assert name not in kubectl("get", "pods")


def test_logs_follow(kubectl: Callable[..., str], unique: Callable[[str], str], kube: Kube) -> None:
    name = unique("follow")
    kubectl(
        "create", "-f", "-", manifest=python_pod(name, "import time\nfor i in range(10): print(i); time.sleep(0.05)")
    )
    kubectl("wait", "--for=jsonpath={.status.containerStatuses[0].containerID}", f"pod/{name}", "--timeout=30s")
    assert kubectl("logs", "-f", name) == "".join(f"{i}\n" for i in range(10))
    assert kubectl("logs", "--since=1h", "-c", "main", name).count("\n") == 10
    kubectl("delete", "pod", name, "--now")


def test_get_watch_and_events(
    kubectl: Callable[..., str], sandbox: SandboxProcess, unique: Callable[[str], str]
) -> None:
    name = unique("watch")
    command = [
        "kubectl",
        "--kubeconfig",
        str(sandbox.kubeconfig),
        "get",
        "pods",
        "-w",
        f"--field-selector=metadata.name={name}",
        "--no-headers",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        try:
            kubectl("create", "-f", "-", manifest=python_pod(name, "print('hi')"))
            lines = iter(watch.stdout.readline, "")
            assert any("Completed" in line for line in lines)
        finally:
            watch.kill()
    assert "Started container main" in kubectl("events", "--for", f"pod/{name}")
    kubectl("delete", "pod", name)


def test_errors_are_worded_as_by_a_cluster(sandbox: SandboxProcess) -> None:
    command = ["kubectl", "--kubeconfig", str(sandbox.kubeconfig), "logs", "nobody"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "pods" in result.stderr and '"nobody" not found' in result.stderr


def test_rollout_and_scale(kubectl: Callable[..., str], unique: Callable[[str], str], kube: Kube) -> None:
    name = unique("web")
    pod = {
        "containers": [{"name": "main", "image": "local/busybox:1", "command": ["sh", "-c", "sleep 600"]}],
        "terminationGracePeriodSeconds": 1,
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template}
    kubectl(
        "apply",
        "-f",
        "-",
        manifest={"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec},
    )
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=30s")
    kubectl("set", "image", f"deployment/{name}", "main=local/busybox:2")
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=30s")
    kubectl("scale", f"deployment/{name}", "--replicas=1")

    def settled() -> bool:
        pods = kube.list("pods", labelSelector=f"app={name}")["items"]
        return [p["spec"]["containers"][0]["image"] for p in pods] == ["local/busybox:2"]

    kube.wait_for(settled, "one pod of the new image")
    kubectl("delete", "deployment", name)
    kube.wait_for(lambda: not kube.list("pods", labelSelector=f"app={name}")["items"], "the end of its pods")


def test_custom_resources(kubectl: Callable[..., str], sandbox: SandboxProcess) -> None:
    assert "created" in kubectl("apply", "-f", "-", manifest=TUNERS)
    assert "unchanged" in kubectl("apply", "-f", "-", manifest=TUNERS)
    kubectl("wait", "--for=condition=Established", "crd/tuners.tuning.example.org", "--timeout=10s")
    assert re.search(r"tuners\s+tn\s+tuning.example.org/v1\s+true\s+Tuner", kubectl("api-resources"))
    tuner = {
        "apiVersion": "tuning.example.org/v1",
        "kind": "Tuner",
        "metadata": {"name": "tune"},
        "spec": {"entrypoint": "x"},
    }
    assert "created" in kubectl("apply", "-f", "-", manifest=tuner)
    assert "configured" in kubectl("apply", "-f", "-", manifest=tuner | {"spec": {"entrypoint": "y"}})
    assert kubectl("get", "tuner", "tune", "-o", "jsonpath={.spec.entrypoint} {.metadata.generation}") == "y 2"
    change = json.dumps({"status": {"jobStatus": "RUNNING"}})
    kubectl("patch", "tuner", "tune", "--subresource=status", "--type=merge", "-p", change)
    for kind in ("tuners", "tn", "Tuner", "tuners.tuning.example.org", "tuners.v1.tuning.example.org"):
        assert re.search(r"NAME\s+JOB STATUS\ntune\s+RUNNING", kubectl("get", kind)), kind
    assert "tuner.tuning.example.org/tune" in kubectl("get", "all", "-o", "name")
    kubectl("wait", "--for=jsonpath={.status.jobStatus}=RUNNING", "tuner/tune", "--timeout=10s")
    kubectl("delete", "crd", "tuners.tuning.example.org")
    assert "tuners" not in kubectl("api-resources", "--cached=false")
    assert sandbox.kube.request("GET", "/apis/tuning.example.org/v1/tuners").status_code == 404
