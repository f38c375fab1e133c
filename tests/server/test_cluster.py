"""With a live cluster: states, pods, containers and events, and a recording that starts by itself."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from server.running import Server, logs, records, run_server
from support.jupyter import Home, free_port
from support.kube import python_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import SandboxProcess
    from support.kube import Kube


@pytest.fixture(scope="module")
def live(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = Home(tmp_path_factory.mktemp("live"), sandbox_process.kubeconfig)
    with run_server(home.path, kubeconfig=home.kubeconfig) as server:
        yield server
    home.end()  # the recorder outlives its server


async def test_page_stream_and_error(live: Server, kube: Kube, unique: Callable[[str], str]) -> None:
    name = unique("cases")
    kube.create(python_job(name, "import time\nfor i in range(200): print('line', i, flush=True); time.sleep(0.005)"))
    events = await live.events(logs(name), follow="true", since="all")
    assert [text for _, text in records(events)] == [f"line {i}" for i in range(200)]
    assert events[0].event == "status" and events[-1].event == "end"
    assert json.loads(events[-1].data)["message"] == "Job complete exit 0"
    response = live.get(logs(name), follow="true")
    assert response.headers["content-type"].startswith("application/json")
    page = response.json()
    assert [r["text"] for r in page["records"]] == [f"line {i}" for i in range(200)]
    assert page["task"]["exit_code"] == 0 and page["complete"]["records"] == 200
    status, error = live.error(logs(name + "x"), follow="true")
    assert (status, error["code"]) == (404, "TaskNotFound") and name in error["hint"]


async def test_a_page_of_a_completed_task_waits_for_its_recording(
    live: Server, kube: Kube, unique: Callable[[str], str]
) -> None:
    name = unique("late")
    kube.create(python_job(name, "for i in range(500): print('line', i)\nraise SystemExit(3)"))
    kube.wait_job(name, "Failed")
    page = live.page(name, limit=1000)
    assert [r["text"] for r in page["records"]] == [f"line {i}" for i in range(500)]
    assert (page["task"]["state"], page["task"]["exit_code"], page["complete"]["done"]) == ("failed", 3, True)


async def test_a_task_is_described(live: Server, kube: Kube, unique: Callable[[str], str]) -> None:
    name = unique("described")
    kube.create(python_job(name, "print('x')"))
    kube.wait_job(name, "Complete")
    [row] = [t for t in live.get("cortex/tasks").json()["tasks"] if t["name"] == name]
    assert row["state"] == "succeeded" and row["pods"] == 1 and not row["recorded"]
    doc = live.get(f"cortex/tasks/default/job/{name}").json()
    assert doc["recorded"] == {"records": 0, "from": None, "to": None, "gaps": [], "sources": 0, "complete": False}
    [pod] = doc["pods"]
    assert pod["phase"] == "Succeeded" and pod["containers"][0]["exit_code"] == 0
    assert {"type", "reason", "message", "time", "object"} == set(doc["events"][0])
    live.page(name)
    kube.delete("jobs", name)
    kube.wait_for(lambda: kube.request("GET", kube.path("jobs", name)).status_code == 404, "the Job to go")
    [row] = [t for t in live.get("cortex/tasks").json()["tasks"] if t["name"] == name]
    assert row["recorded"] and row["state"] == "succeeded", (
        "a recorded task that was deleted from the cluster is not listed as recorded"
    )
    assert live.page(name)["records"][0]["text"] == "x"


def test_only_the_configured_cluster_is_used(sandbox_process: SandboxProcess, tmp_path: Path) -> None:
    options = ("--CortexJupyter.kubeconfig=/not/there",)
    with run_server(tmp_path, *options, kubeconfig=sandbox_process.kubeconfig) as server:
        status, error = server.error(logs("any"))
    assert (status, error["code"]) == (502, "NoCluster") and "/not/there" in error["message"]


def test_a_recreated_cluster_is_found_without_a_restart(sandbox_process: SandboxProcess, tmp_path: Path) -> None:
    """Its port has changed. The kubeconfig is read again when the cluster does not answer."""
    config = tmp_path / "config"
    there = yaml.safe_load(Path(sandbox_process.kubeconfig).read_text())
    gone = copy.deepcopy(there)
    gone["clusters"][0]["cluster"]["server"] = f"http://127.0.0.1:{free_port()}"
    config.write_text(yaml.safe_dump(gone))
    with run_server(tmp_path, kubeconfig=config) as server:
        status, error = server.error("cortex/tasks")
        assert (status, error["code"]) == (504, "ClusterUnreachable")
        config.write_text(yaml.safe_dump(there))
        status, error = server.error("cortex/tasks")
        assert (status, error["code"]) == (503, "ClusterChanged") and "try again" in error["hint"]
        assert "tasks" in server.get("cortex/tasks").json()
