"""Start and end of a sandbox, restarts of containers, and the controllers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.kube import Kube, python_container, python_job, python_pod

from cortex_jupyter.sandbox import Config, Sandbox, cronjobs
from cortex_jupyter.sandbox.objects import Store, copy
from cortex_jupyter.sandbox.resources import BUILT_IN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import SandboxProcess


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_pod_processes(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "cortex_jupyter.sandbox", "--root", str(tmp_path)]
    program = (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(os.getpid())\ntime.sleep(600)"
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        kube = Kube(process.stdout.readline().strip())
        kube.create(python_pod("stubborn", program))
        kube.wait_pod("stubborn", lambda p: p["status"]["phase"] == "Running")
        pid = int(kube.wait_for(lambda: kube.logs("stubborn"), "its pid"))
        assert is_alive(pid)
        kube.close()
        process.send_signal(number)
        assert process.wait(120) == 0
    assert not is_alive(pid)
    assert not (tmp_path / "kubeconfig").exists()


def test_kubeconfig_is_private_and_its_token_is_required(sandbox: SandboxProcess) -> None:
    assert sandbox.kubeconfig.stat().st_mode & 0o077 == 0
    origin = sandbox.kube.server.rpartition("/")[0]
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        response = httpx.get(f"{origin}/api/v1/pods", headers=headers)
        assert (response.status_code, response.json()["message"]) == (401, "Unauthorized")
    assert httpx.get(f"{sandbox.kube.server}/api/v1/pods", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert httpx.get(f"{origin}/api/v1/pods", headers=sandbox.kube.client.headers).status_code == 200


async def test_in_process(tmp_path: Path) -> None:
    async with Sandbox(tmp_path, config=Config(backoff=0.1)) as sandbox:
        headers = {"Authorization": f"Bearer {sandbox.token}"}
        async with httpx.AsyncClient(headers=headers) as client:
            response = await client.post(
                f"{sandbox.url}/api/v1/namespaces/ml/pods", json=python_pod("one", "", namespace="ml")
            )
            assert response.status_code == 201
            fault = await sandbox.fault("status", code=503, count=1)
            assert (await client.get(f"{sandbox.url}/version")).status_code == 503
            assert fault.hits == 1


def test_restarts_keep_one_dead_run(sandbox: SandboxProcess, kube: Kube, unique: Callable[[str], str]) -> None:
    name = unique("restart")
    kube.create(python_pod(name, "import time; print(time.time_ns()); raise SystemExit(1)", restart="Always"))
    pod = kube.wait_pod(
        name, lambda p: p["status"]["phase"] == "Running" and p["status"]["containerStatuses"][0]["restartCount"] >= 2
    )
    folder = sandbox.root / "var/log/pods" / f"default_{name}_{pod['metadata']['uid']}" / "main"
    kube.wait_for(lambda: not (folder / "0.log").exists(), "the removal of the first run")
    kube.delete("pods", name)
    kube.wait_for(lambda: not folder.exists(), "the removal of the pod's folder")


def test_on_failure_restarts_in_place_until_it_succeeds(
    kube: Kube, unique: Callable[[str], str], tmp_path: Path
) -> None:
    name = unique("retry")
    program = f"import pathlib, sys\np = pathlib.Path('{tmp_path}/n'); n = int(p.read_text()) if p.exists() else 0\np.write_text(str(n + 1)); print('try', n); sys.exit(n < 1)"
    kube.create(python_pod(name, program, restart="OnFailure"))
    pod = kube.wait_pod(name, lambda p: p["status"]["phase"] == "Succeeded")
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 1
    assert kube.logs(name) == b"try 1\n" and kube.logs(name, previous="true") == b"try 0\n"
    kube.delete("pods", name)


def test_environment(kube: Kube, unique: Callable[[str], str]) -> None:
    name = unique("env")
    program = "import os; print(os.environ['HOSTNAME'], os.environ['A'], os.environ['B'], os.environ['NS'], os.environ['LABEL'])"
    pod = python_pod(name, program)
    fields = {"NS": "metadata.namespace", "LABEL": "metadata.labels['x']"}
    env: list[dict[str, Any]] = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}]
    env += [{"name": k, "valueFrom": {"fieldRef": {"fieldPath": v}}} for k, v in fields.items()]
    pod["spec"]["containers"][0]["env"] = env
    pod["metadata"]["labels"] = {"x": "y"}
    kube.create(pod)
    kube.wait_pod(name, lambda p: p["status"]["phase"] == "Succeeded")
    assert kube.logs(name).decode() == f"{name} 1 12 default y\n"
    kube.delete("pods", name)


def test_pod_deadline(kube: Kube, unique: Callable[[str], str]) -> None:
    name = unique("deadline")
    kube.create(python_pod(name, "import time; time.sleep(600)", activeDeadlineSeconds=1))
    pod = kube.wait_pod(name, lambda p: p["status"]["phase"] == "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] in (137, 143)
    kube.delete("pods", name)


def test_sidecar_runs_beside_the_main_container_and_ends_after_it(kube: Kube, unique: Callable[[str], str]) -> None:
    name = unique("side")
    sidecar = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nprint('up', flush=True); open('up', 'w')\nwhile True: time.sleep(0.1)"
    # In the sandbox a pod's containers share their working folder.
    main = "import os, time\nwhile not os.path.exists('up'): time.sleep(0.01)"
    kube.create(python_job(name, main, init="print('init')", sidecar=sidecar))
    kube.wait_job(name)
    (pod,) = kube.pods_of(name)
    states = {s["name"]: s["state"] for s in pod["status"]["initContainerStatuses"]}
    assert states["sidecar"]["terminated"]["exitCode"] == 0
    assert kube.logs(pod["metadata"]["name"], container="sidecar") == b"up\n"
    kube.delete("jobs", name)


def test_ephemeral_container_joins_a_running_pod(kube: Kube, unique: Callable[[str], str]) -> None:
    name = unique("debug")
    kube.create(python_pod(name, "import time; time.sleep(600)"))
    kube.wait_pod(name, lambda p: p["status"]["phase"] == "Running")
    added = {"spec": {"ephemeralContainers": [python_container("debugger", "print('looking')")]}}
    headers = {"Content-Type": "application/strategic-merge-patch+json"}
    kube.request(
        "PATCH", kube.path("pods", name, sub="ephemeralcontainers"), json=added, headers=headers
    ).raise_for_status()
    kube.wait_for(lambda: kube.log(name, container="debugger").content == b"looking\n", "the debugger's line")
    kube.delete("pods", name)


def test_cron_job_starts_a_job_in_its_minute() -> None:
    store = Store()
    template = {"spec": python_job("x", "")["spec"]}
    cronjob: dict[str, Any] = {
        "metadata": {"name": "tick", "namespace": "default"},
        "spec": {"schedule": "* * * * *", "jobTemplate": template},
    }
    owner = copy(store.create(BUILT_IN["cronjobs.batch"], cronjob))
    owner["metadata"]["creationTimestamp"] = (datetime.now(UTC) - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for _ in range(2):
        delay = cronjobs.reconcile(store, Config(), owner)
        assert delay is not None and 0 < delay <= 60.1
    (job,) = store.select("jobs.batch")
    assert job["metadata"]["ownerReferences"][0]["name"] == "tick"


@pytest.mark.parametrize(
    ("schedule", "when", "expected"),
    [
        ("0 0 * * 7", datetime(2026, 3, 1, tzinfo=UTC), True),  # a Sunday
        ("0 0 13 * 5", datetime(2026, 3, 13, tzinfo=UTC), True),
        ("0 0 14 * 5", datetime(2026, 3, 13, tzinfo=UTC), True),  # day of month or of week
        ("30 1,2 * * *", datetime(2026, 3, 1, 2, 30, tzinfo=UTC), True),
        ("@hourly", datetime(2026, 3, 1, 2, 30, tzinfo=UTC), False),
    ],
)
def test_schedules(schedule: str, when: datetime, expected: bool) -> None:
    assert cronjobs.is_due(schedule, when) is expected


def test_deleting_a_namespace_deletes_its_objects(kube: Kube, unique: Callable[[str], str]) -> None:
    space = unique("space")
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        **python_pod("inside", "import time; time.sleep(600)", namespace=space),
    }
    response = kube.request("POST", kube.path("pods", namespace=space), json=manifest)
    assert (response.status_code, response.json()["message"]) == (404, f'namespaces "{space}" not found')
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
    kube.create(manifest)
    kube.wait_pod("inside", lambda p: p["status"]["phase"] == "Running", namespace=space)
    kube.delete("namespaces", space)
    kube.wait_for(lambda: not kube.list("pods", space)["items"], "the end of its pods")


def test_protobuf_is_refused_with_a_hint(kube: Kube) -> None:
    response = kube.request(
        "POST", kube.path("jobs"), content=b"k8s\x00", headers={"Content-Type": "application/vnd.kubernetes.protobuf"}
    )
    assert response.status_code == 415 and "manifest" in response.json()["message"]
