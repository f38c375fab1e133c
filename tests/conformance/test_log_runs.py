"""Which run of a container a request for a log reads, and when a follow ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from support.kube import python_pod

if TYPE_CHECKING:
    from conformance.conftest import Create, Specimens
    from conftest import Target

LINES = """
import sys, time
for i in range(20):
    print('line %03d' % i)
    time.sleep(0.1)
"""


def main(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the status of container `main`."""
    return next(s for s in pod["status"]["containerStatuses"] if s["name"] == "main")


def test_follow_gets_each_line_and_ends_cleanly(target: Target, create: Create) -> None:
    name = create(python_pod("follow", LINES))
    target.kube.wait_pod(name, lambda p: p["status"]["phase"] != "Pending")
    with target.kube.following(name) as follower:
        follower.wait_for(lambda f: len(f.lines) >= 3, "the first lines")
        assert not follower.ended
        assert follower.join() == b"".join(b"line %03d\n" % i for i in range(20))
        assert follower.error is None
    # The stream ends before the status changes.
    pod = target.kube.wait_pod(name, lambda p: "terminated" in main(p)["state"])
    assert main(pod)["state"]["terminated"]["exitCode"] == 0


def test_crash_loop_back_off_serves_the_last_run(target: Target, specimens: Specimens) -> None:
    pod = specimens.wait_waiting("crash", "CrashLoopBackOff")
    state = main(pod)
    assert pod["status"]["phase"] == "Running"
    message = state["state"]["waiting"]["message"]
    assert (
        message.startswith("back-off ")
        and f"restarting failed container=main pod={specimens.names['crash']}_default" in message
    )
    last = state["lastState"]["terminated"]
    assert last["containerID"] == state["containerID"] and last["containerID"].startswith("containerd://")
    assert (last["exitCode"], last["reason"]) == (3, "Error")
    assert target.kube.logs(specimens.names["crash"]).startswith(b"run ")


def test_previous_is_the_latest_ended_run(target: Target, specimens: Specimens) -> None:
    specimens.wait_waiting("crash", "CrashLoopBackOff")
    name = specimens.names["crash"]

    def logs_are_equal() -> bool:
        """Compare the current and the previous log; return False if the container changed meanwhile."""
        before = main(target.kube.get("pods", name))
        current, previous = target.kube.log(name), target.kube.log(name, previous="true")
        after = main(target.kube.get("pods", name))
        if before != after or "waiting" not in before["state"]:
            return False
        assert previous.content == current.content
        return True

    target.kube.wait_for(logs_are_equal, "no change of the container between two reads")


def test_a_restart_is_counted_and_has_a_new_container_id(target: Target, specimens: Specimens) -> None:
    pod = specimens.wait_waiting("crash", "CrashLoopBackOff")
    first = main(pod)
    later = main(
        target.kube.wait_pod(specimens.names["crash"], lambda p: main(p)["restartCount"] > first["restartCount"])
    )
    assert later["containerID"] != first["containerID"]


def test_status_after_the_end(target: Target, specimens: Specimens) -> None:
    pod = specimens.wait_ended("text")
    terminated = main(pod)["state"]["terminated"]
    assert terminated["exitCode"] == 0 and terminated["reason"] == "Completed"
    assert terminated["startedAt"] < terminated["finishedAt"]
    assert terminated["containerID"] == main(pod)["containerID"]
    conditions = {c["type"]: c for c in pod["status"]["conditions"]}
    assert {k: (c["status"], c.get("reason")) for k, c in conditions.items() if k != "PodReadyToStartContainers"} == {
        "PodScheduled": ("True", None),
        "Initialized": ("True", "PodCompleted"),
        "Ready": ("False", "PodCompleted"),
        "ContainersReady": ("False", "PodCompleted"),
    }
    assert pod["spec"]["nodeName"] == "node-1" and pod["status"]["podIP"] and pod["status"]["hostIP"]
    assert pod["status"]["qosClass"] == "BestEffort"


def test_container_statuses_are_sorted_by_name(target: Target, specimens: Specimens) -> None:
    pod = specimens.wait_ended("two")
    assert [s["name"] for s in pod["status"]["containerStatuses"]] == ["aside", "main"]
    (prepare,) = pod["status"]["initContainerStatuses"]
    assert prepare["ready"] is True and prepare["state"]["terminated"]["exitCode"] == 0


def test_program_that_does_not_exist(target: Target, specimens: Specimens) -> None:
    terminated = main(specimens.wait_ended("no-program"))["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (128, "StartError")
    assert terminated["startedAt"] == "1970-01-01T00:00:00Z"
    assert 'exec: "no-such-program": executable file not found in $PATH' in terminated["message"]


def test_pod_starts_after_its_image_was_corrected(target: Target, specimens: Specimens) -> None:
    specimens.wait_waiting("missing", "ErrImageNeverPull")
    name = specimens.names["missing"]
    target.kube.patch("pods", name, {"spec": {"containers": [{"name": "main", "image": "docker.io/local/busybox:1"}]}})
    specimens.wait_ended("missing")
    assert target.kube.logs(name) == b"here at last\n"


def test_deleted_pod_has_no_log(target: Target, create: Create) -> None:
    name = create(python_pod("gone", "print('here')"))
    target.kube.wait_pod(name, lambda p: p["status"]["phase"] == "Succeeded")
    target.kube.delete("pods", name)
    target.kube.wait_for(lambda: target.kube.log(name).status_code == httpx.codes.NOT_FOUND, "404")


def test_deletion_marks_the_pod_and_ends_a_follow(target: Target, create: Create) -> None:
    name = create(python_pod("stop", "import time\nprint('up')\ntime.sleep(600)"))
    target.kube.wait_pod(name, lambda p: p["status"]["phase"] == "Running")
    with target.kube.following(name) as follower:
        follower.wait_for(lambda f: f.data == b"up\n")
        with target.kube.watching("pods", fieldSelector=f"metadata.name={name}") as watch:
            target.kube.delete("pods", name, grace=None)
            watch.wait_for(lambda w: b'"type":"DELETED"' in w.data, "DELETED")
            assert b'"deletionTimestamp"' in watch.lines[-2]
        follower.join()


def test_rotated_lines_are_not_served(target: Target, specimens: Specimens) -> None:
    name = specimens.names["rotating"]
    first = b"00000000 "
    target.kube.wait_for(lambda: not target.kube.logs(name, limitBytes=9).startswith(first), "rotation", timeout=90)
    assert b"00000000 x" not in target.kube.logs(name)
    assert target.kube.wait_for(lambda: target.kube.logs(name, tailLines=1), "a line in the new file").endswith(
        b" later\n"
    )
