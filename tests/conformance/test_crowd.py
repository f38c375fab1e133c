"""In a namespace of 1 000 pods, 300 Jobs and 2 000 events, CLI, Python, HTTP and collector work."""

from __future__ import annotations

import contextlib
import gzip
import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from support.crowd import JOBS, LINES, MANY, PODS
from support.jupyter import Home, jupyter
from support.kube import python_job

from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import httpx
    from support.crowd import Crowd

    from cortex_jupyter.store import Store


def _raw(crowd: Crowd, encoding: str, **query: str) -> tuple[httpx.Response, bytes]:
    """List pods with an `Accept-Encoding`; return the response and its body as sent."""
    url, headers = crowd.kube.server + crowd.kube.path("pods", "", crowd.namespace), {"Accept-Encoding": encoding}
    with crowd.kube.client.stream("GET", url, params=query, headers=headers) as response:
        return response, b"".join(response.iter_raw())


@pytest.mark.parametrize("encoding", ["gzip", "gzip, deflate", "deflate, gzip"])
def test_an_answer_of_more_than_128_kib_is_compressed_if_accepted(crowd: Crowd, encoding: str) -> None:
    response, body = _raw(crowd, encoding, limit="100")
    assert response.headers["Content-Encoding"] == "gzip" and response.headers["Vary"] == "Accept-Encoding"
    assert len(orjson.loads(gzip.decompress(body))["items"]) == 100


@pytest.mark.parametrize(("encoding", "limit"), [("identity", "100"), ("gzip;q=1.0", "100"), ("gzip", "2")])
def test_a_small_answer_or_one_for_another_client_is_not_compressed(crowd: Crowd, encoding: str, limit: str) -> None:
    response, body = _raw(crowd, encoding, limit=limit)
    assert "Content-Encoding" not in response.headers
    assert len(orjson.loads(body)["items"]) == int(limit)


def test_the_namespace_is_as_large_as_real_ones(crowd: Crowd) -> None:
    assert len(crowd.kube.list("jobs", crowd.namespace)["items"]) == JOBS
    pods = crowd.kube.list("pods", crowd.namespace)["items"]
    sizes = sorted(len(orjson.dumps(pod)) for pod in pods)
    assert len(pods) >= PODS and 12_000 < sizes[len(pods) // 2] < 19_000
    assert len(crowd.kube.list("pods", crowd.namespace, labelSelector=crowd.selector)["items"]) == MANY


# ---------------------------------------------------------------- a user's commands


@pytest.fixture(scope="module")
def user(crowd: Crowd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Return the home of a user with this default namespace."""
    folder = tmp_path_factory.mktemp("user")
    settings = {"CORTEX_NAMESPACE": crowd.namespace, "CORTEX_STORE": f"sqlite:///{folder / 'store.sqlite'}"}
    home = Home(folder, crowd.kube.kubeconfig, settings)
    yield home
    home.end()


def _cli(user: Home, *arguments: str) -> str:
    result = user.run("cortex-jupyter", *arguments)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return result.stdout


def _task_names(crowd: Crowd) -> set[str]:
    """Return the names of all tasks: the Jobs, and the pods without a controller."""
    pods = crowd.kube.list("pods", crowd.namespace)["items"]
    bare = {p["metadata"]["name"] for p in pods if not p["metadata"].get("ownerReferences")}
    return bare | {j["metadata"]["name"] for j in crowd.kube.list("jobs", crowd.namespace)["items"]}


def _expected_lines(pods: Iterable[str]) -> list[str]:
    return sorted(f"line {i:02} of {pod}" for pod in pods for i in range(LINES))


def test_tasks(crowd: Crowd, user: Home) -> None:
    tasks = {t["name"]: t for t in json.loads(_cli(user, "tasks", "-o", "json"))["tasks"]}
    assert set(tasks) == _task_names(crowd)
    assert {name: tasks[name]["state"] for name in ("busy", "many-000", "job-001", "job-299", "app-000")} == {
        "busy": "running",
        "many-000": "running",
        "job-001": "pending",
        "job-299": "pending",
        "app-000": "pending",
    }


def test_python_and_the_completion_of_task_names(crowd: Crowd, user: Home) -> None:
    code = """
    import time
    from IPython.core.interactiveshell import InteractiveShell
    import cortex_jupyter as cortex

    print(len(cortex.tasks()))
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "cortex_jupyter")
    end = time.monotonic() + 120
    while not (names := shell.complete("bu", "%tasklogs bu", 12)[1]) and time.monotonic() < end:
        time.sleep(0.1)
    print(names)
    """
    count, names = user.python(textwrap.dedent(code), timeout=240).splitlines()[-2:]
    assert int(count) == len(_task_names(crowd)) and names == f"['{crowd.namespace}:job/busy']"


def test_logs_of_a_job_and_of_a_pod(crowd: Crowd, user: Home) -> None:
    (pod,) = crowd.kube.pods_of(crowd.job, crowd.namespace)
    assert sorted(_cli(user, "logs", crowd.job, "--since", "all").splitlines()) == _expected_lines(
        [pod["metadata"]["name"]]
    )
    assert sorted(_cli(user, "logs", "many-001", "--since", "all").splitlines()) == _expected_lines(["many-001"])


def test_logs_of_a_selector_of_200_pods(crowd: Crowd, user: Home) -> None:
    lines = _cli(user, "logs", "-l", crowd.selector, "--since", "all", "--prefix", "never").splitlines()
    assert sorted(lines) == _expected_lines(crowd.running)


def test_http(crowd: Crowd, user: Home) -> None:
    with jupyter(user) as server:
        tasks = server.client.get("cortex/tasks", params={"namespace": crowd.namespace})
        assert tasks.status_code == 200
        # Selectors that were opened before are listed too.
        listed = {t["name"] for t in tasks.json()["tasks"] if t["kind"] != "selector"}
        assert listed == _task_names(crowd)
        task = server.client.get(server.path(crowd.job, "", crowd.namespace).rstrip("/"))
        assert task.status_code == 200 and task.json()["state"] == "running"
        assert len(task.json()["pods"]) == 1


def test_doctor(user: Home) -> None:
    assert "✗" not in _cli(user, "doctor", "--timeout", "60")


def _memory(process: subprocess.Popen[bytes]) -> float:
    """Return a process's private memory (MB)."""
    smaps = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in smaps.splitlines() if line.startswith("Private_")) / 1000


@contextlib.contextmanager
def _collector(user: Home, folder: Path, namespace: str) -> Iterator[tuple[subprocess.Popen[bytes], Store]]:
    url = f"sqlite:///{folder / 'store.sqlite'}"
    command = [sys.executable, "-m", "cortex_jupyter.recorder", "--store", url, "--all", "-n", namespace]
    with (folder / "collector.log").open("wb") as log, contextlib.closing(open_store(url)) as store:
        process = subprocess.Popen(command, env=user.env, stdout=log, stderr=log)
        try:
            yield process, store
        finally:
            process.terminate()
            assert process.wait(120) == 0


def test_a_collector_records_all_tasks_in_little_memory(crowd: Crowd, user: Home, tmp_path: Path) -> None:
    """Its memory is compared with that of a collector of a namespace with one Job: a task takes 44 to 53 kB."""

    def is_recorded(store: Store, name: str, tasks: int) -> bool:
        recordings = store.recordings()
        # A recording begins with the task's state.
        if sum(info.last_seq > 0 for info in recordings) < tasks:
            return False
        return any(i.ref.name == name and store.complete(i.id).records >= LINES for i in recordings)

    memory_mb: dict[str, float] = {}
    alone = python_job("alone", "import time; [print(i) for i in range(20)]; time.sleep(600)")
    crowd.kube.create(alone)
    try:
        for namespace, name, tasks in (("default", "alone", 1), (crowd.namespace, crowd.job, len(_task_names(crowd)))):
            folder = tmp_path / namespace
            folder.mkdir()
            with _collector(user, folder, namespace) as (process, store):
                crowd.kube.wait_for(
                    lambda store=store, name=name, tasks=tasks: (
                        process.poll() is not None or is_recorded(store, name, tasks)
                    ),
                    f"{name} to be recorded, and {tasks} tasks",
                    240,
                )
                assert process.poll() is None, (folder / "collector.log").read_text()
                memory_mb[namespace] = _memory(process)
    finally:
        crowd.kube.delete("jobs", "alone")
    assert memory_mb[crowd.namespace] - memory_mb["default"] < 0.06 * len(_task_names(crowd)), memory_mb
