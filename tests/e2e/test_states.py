"""The state of a task before, at and after its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from support.jupyter import Home, Jupyter, counter, numbers
from support.kube import IMAGE, python_job, python_pod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def create_object(target: Any, unique: Callable[[str], str]) -> Iterator[Callable[[dict[str, Any]], str]]:
    """Return a function that creates an object under a unique name; it is deleted after the test."""
    created: list[tuple[str, str]] = []

    def create(manifest: dict[str, Any]) -> str:
        name = manifest["metadata"]["name"] = unique(manifest["metadata"]["name"])
        target.kube.create(manifest)
        created.append((f"{manifest['kind'].lower()}s", name))
        return name

    yield create
    for plural, name in created:
        target.kube.delete(plural, name)


def test_a_missing_image_is_the_reported_reason_until_it_is_fixed(
    server: Jupyter, target: Any, job: Callable[..., str]
) -> None:
    name = job(counter(500), image="docker.io/local/missing:1")
    texts: list[str] = []
    fixed = False
    last = ""
    for event in server.events(name, since="all"):
        if event.event == "log":
            texts += event.data["m"]
        elif event.event == "status" and "state" in event.data:
            last = event.data["message"]
            if not fixed and "ErrImageNeverPull" in last:
                assert last.startswith("Log not available yet: ")
                assert event.data["state"] == "pending"
                (pod,) = target.kube.pods_of(name)
                change = {"spec": {"containers": [{"name": "main", "image": IMAGE}]}}
                target.kube.patch("pods", pod["metadata"]["name"], change)
                fixed = True
        elif event.event == "end":
            assert event.data["message"] == "Job complete exit 0"
    assert fixed, f"the reason was never reported; last message: {last}"
    assert [n for found in numbers(texts).values() for n in found] == list(range(500))


def test_a_job_that_fails_ends_with_its_exit_code_everywhere(
    server: Jupyter, home: Home, job: Callable[..., str]
) -> None:
    name = job(counter(300, exit_code=3))
    events = list(server.events(name, headers={"Accept": "text/event-stream"}, since="all"))
    end = events[-1]
    assert end.event == "end" and end.data["state"] == "failed" and end.data["exit_code"] == 3
    assert "exit 3" in end.data["message"]

    page = server.client.get(server.path(name), params={"follow": "true"})
    assert page.headers["content-type"].startswith("application/json"), "the answer for a failed task is not JSON"
    assert page.json()["task"]["state"] == "failed" and page.json()["task"]["exit_code"] == 3
    assert len(page.json()["records"]) == 300

    done = home.run("cortex-jupyter", "logs", name, "-f")
    assert done.returncode == 3, done.stderr
    assert [n for found in numbers(done.stdout.splitlines()).values() for n in found] == list(range(300))

    out = home.python(f"import cortex_jupyter as c; log = c.logs({name!r}); print(log.wait(), log.exit_code, len(log))")
    assert "3 300" in out


def test_a_missing_task_is_a_clear_error(server: Jupyter, home: Home) -> None:
    answer = server.client.get(server.path("no-such-task"), params={"follow": "true"})
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "TaskNotFound" and "no-such-task" in error["message"] and error["hint"]
    done = home.run("cortex-jupyter", "logs", "no-such-task")
    assert done.returncode == 1 and "no-such-task" in done.stderr and "Traceback" not in done.stderr


def test_a_task_outlives_its_pods(server: Jupyter, target: Any, home: Home, job: Callable[..., str]) -> None:
    name = job(counter(200))
    assert list(server.events(name, headers={"Accept": "text/event-stream"}, since="all"))[-1].event == "end"
    target.kube.delete("jobs", name)
    target.kube.wait_for(lambda: not target.kube.pods_of(name), "the pods are gone")
    page = server.client.get(server.path(name)).json()
    assert len(page["records"]) == 200 and page["task"]["message"] == "Job complete exit 0"
    assert home.python(f"import cortex_jupyter as c; print(len(c.logs({name!r}).to_polars()))").strip() == "200"


def row(home: Home, key: str) -> dict[str, Any]:
    """Return a task as `tasks -o json` lists it."""
    tasks = orjson.loads(home.run("cortex-jupyter", "tasks", "-o", "json").stdout)["tasks"]
    matching: dict[str, Any] = next(task for task in tasks if task["task"].endswith(f":{key}"))
    return matching


def test_the_reason_why_a_container_cannot_start_is_shown_everywhere(
    server: Jupyter, home: Home, target: Any, create_object: Callable[[dict[str, Any]], str]
) -> None:
    manifest = python_job("no-start", "")
    manifest["spec"]["template"]["spec"]["containers"][0]["command"] = ["no-such-program"]
    name = create_object(manifest)
    events = list(server.events(name, headers={"Accept": "text/event-stream"}, since="all"))
    notices = {event.data.get("notice"): event.data for event in events if event.event == "status"}
    assert "started" not in notices, "a container that never ran has a `started` notice"
    ended = notices["ended"]
    assert (ended["reason"], ended["exit_code"]) == ("StartError", 128)
    assert "no-such-program" in ended["termination_message"] and "could not be started" in ended["message"]
    assert "no-such-program" in events[-1].data["message"]
    assert "no-such-program" in home.run("cortex-jupyter", "logs", name).stderr
    assert "no-such-program" in home.python(f"import cortex_jupyter as c; print(c.logs({name!r}).why().summary)")
    assert row(home, f"job/{name}")["status"] == "Failed"


def test_the_termination_message_is_shown_at_the_end_of_the_log(
    server: Jupyter, home: Home, target: Any, create_object: Callable[[dict[str, Any]], str]
) -> None:
    if not target.real:
        pytest.skip("the sandbox's containers leave no termination messages")
    manifest = python_job("says-why", "print('the last words'); raise SystemExit(9)")
    manifest["spec"]["template"]["spec"]["containers"][0]["terminationMessagePolicy"] = "FallbackToLogsOnError"
    name = create_object(manifest)
    events = list(server.events(name, headers={"Accept": "text/event-stream"}, since="all"))
    (ended,) = [e.data for e in events if e.event == "status" and e.data.get("notice") == "ended"]
    assert ended["termination_message"] == "the last words" and "exit 9, Error: the last words" in ended["message"]
    done = home.run("cortex-jupyter", "logs", name)
    assert done.stdout == "the last words\n" and done.stderr.startswith(
        "Job failed exit 9: BackoffLimitExceeded: the last"
    )


def test_a_crash_loop_has_the_status_that_kubectl_shows(
    server: Jupyter, home: Home, target: Any, create_object: Callable[[dict[str, Any]], str]
) -> None:
    name = create_object(python_pod("loop", "print('one run'); raise SystemExit(3)", restart="Always"))

    def loops(pod: dict[str, Any]) -> bool:
        (status,) = pod["status"].get("containerStatuses") or [{"state": {}, "restartCount": 0}]
        return status["restartCount"] > 0 and status["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"

    target.kube.wait_pod(name, loops, "CrashLoopBackOff", timeout=90)
    task = row(home, f"pod/{name}")
    assert (task["state"], task["status"]) in (("running", "CrashLoopBackOff"), ("running", "Error"))
    assert task["restarts"] > 0
    started: set[int] = set()
    for event in server.events(name, kind="pod", since="all"):
        if event.event == "status" and event.data.get("notice") == "started":
            run = event.data["source"]["run"]
            started.add(run)
            assert run == 0 or f"(run {run})" in event.data["message"]
        if event.event == "status" and event.data.get("reason") == "CrashLoopBackOff" and started:
            assert "main ended with exit 3, Error" in event.data["message"] and "restart" in event.data["message"]
            break
    # A single run is shown in full, although it ended long before the window `--since 1s`.
    for run_options in (["-p", "--since", "1s"], ["--run", str(max(started))]):
        answer = home.run("cortex-jupyter", "logs", f"pod/{name}", *run_options)
        assert answer.stdout == "one run\n", answer.stderr


def test_the_reason_why_a_job_has_no_pods_is_shown(home: Home, create_object: Callable[[dict[str, Any]], str]) -> None:
    name = create_object(python_job("none", "", parallelism=0, completions=1))
    why = "no pod is wanted (spec.parallelism is 0)"
    assert row(home, f"job/{name}")["message"] == f"Log not available yet: {why}"
    assert why in home.run("cortex-jupyter", "logs", name).stderr
