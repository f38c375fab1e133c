"""What a task says before, at and after its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.jupyter import Home, Jupyter, counter, numbers
from support.kube import IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_missing_image_is_the_reason_until_it_is_mended(
    server: Jupyter, target: Any, job: Callable[..., str]
) -> None:
    name = job(counter(500), image="docker.io/local/missing:1")
    texts: list[str] = []
    mended = False
    last = ""
    for event in server.events(name, since="all"):
        if event.event == "log":
            texts += event.data["m"]
        elif event.event == "status" and "state" in event.data:
            last = event.data["message"]
            if not mended and "ErrImageNeverPull" in last:
                assert last.startswith("Log not available yet: ")
                assert event.data["state"] == "pending"
                (pod,) = target.kube.pods_of(name)
                change = {"spec": {"containers": [{"name": "main", "image": IMAGE}]}}
                target.kube.patch("pods", pod["metadata"]["name"], change)
                mended = True
        elif event.event == "end":
            assert event.data["message"] == "Job complete exit 0"
    assert mended, f"the reason was never said; last: {last}"
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
    assert page.headers["content-type"].startswith("application/json"), "a failed task answers with JSON"
    assert page.json()["task"]["state"] == "failed" and page.json()["task"]["exit_code"] == 3
    assert len(page.json()["records"]) == 300

    done = home.run("cortex-jupyter", "logs", name, "-f")
    assert done.returncode == 3, done.stderr
    assert [n for found in numbers(done.stdout.splitlines()).values() for n in found] == list(range(300))

    out = home.python(f"import cortex_jupyter as c; log = c.logs({name!r}); print(log.wait(), log.exit_code, len(log))")
    assert "3 300" in out


def test_a_task_that_is_not_there_is_a_clear_error(server: Jupyter, home: Home) -> None:
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
