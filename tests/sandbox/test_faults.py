"""Each fault has its effect, once or until it is removed, and only on what it matches."""

from __future__ import annotations

import socket
import time
import urllib.parse
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.kube import KubeError, python_pod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import NewSandbox, SandboxProcess

LIVE = "import time\nfor i in range(3000):\n    print('line %04d' % i)\n    time.sleep(0.02)"
SHORT = "for i in range(100): print('line %04d' % i)"


@pytest.fixture
def start(sandbox: SandboxProcess, unique: Callable[[str], str]) -> Iterator[Callable[..., str]]:
    """Return a function that starts a pod and waits until it has left Pending."""
    names: list[str] = []

    def create(program: str, **options: Any) -> str:
        name = unique("fault")
        names.append(name)
        sandbox.kube.create(python_pod(name, program, **options))
        sandbox.kube.wait_pod(name, lambda p: p["status"]["phase"] != "Pending")
        return name

    yield create
    for name in names:
        sandbox.kube.delete("pods", name)


@pytest.fixture
def ended(sandbox: SandboxProcess, start: Callable[..., str]) -> str:
    name = start(SHORT)
    sandbox.kube.wait_pod(name, lambda p: p["status"]["phase"] == "Succeeded")
    return name


def main(pod: dict[str, Any]) -> dict[str, Any]:
    status: dict[str, Any] = pod["status"]["containerStatuses"][0]
    return status


def test_cut_after_bytes_is_a_clean_end(sandbox: SandboxProcess, ended: str) -> None:
    sandbox.fault("cut", pod=ended, after_bytes=123, count=1)
    for size in (123, 1000):  # in turn: the fault applies once
        with sandbox.kube.following(ended) as stream:
            assert len(stream.join()) == size and stream.error is None
    assert sandbox.faults() == []


def test_cut_ends_running_streams_of_its_pod_only(sandbox: SandboxProcess, start: Callable[..., str]) -> None:
    names = [start(LIVE), start(LIVE)]
    with sandbox.kube.following(names[0]) as hit, sandbox.kube.following(names[1]) as spared:
        hit.wait_for(lambda f: f.lines)
        spared.wait_for(lambda f: f.lines)
        sandbox.fault("cut", pod=names[0], count=1)
        hit.join()
        assert hit.error is None
        count = len(spared.lines)
        spared.wait_for(lambda f: len(f.lines) > count, "more lines")
    assert main(sandbox.kube.get("pods", names[0]))["state"].get("running")


def test_cut_ends_a_silent_stream(sandbox: SandboxProcess, start: Callable[..., str]) -> None:
    name = start("import time; print('once'); time.sleep(600)")
    with sandbox.kube.following(name) as follower:
        follower.wait_for(lambda f: f.lines)
        sandbox.fault("cut", pod=name, count=1)
        assert follower.join() == b"once\n"


def test_abort_resets_the_connection_within_a_line(sandbox: SandboxProcess, ended: str) -> None:
    sandbox.fault("abort", pod=ended, after_bytes=105, count=1)
    with sandbox.kube.following(ended) as follower:
        assert len(follower.join()) <= 105
        assert isinstance(follower.error, httpx.ReadError | httpx.RemoteProtocolError)


def test_stall_stays_open_and_silent(sandbox: SandboxProcess, start: Callable[..., str]) -> None:
    name = start(LIVE)
    sandbox.fault("stall", pod=name, after_bytes=50, count=1)
    with sandbox.kube.following(name) as first, sandbox.kube.following(name) as second:
        sandbox.kube.wait_for(lambda: max(len(first.data), len(second.data)) > 500, "lines in the live stream")
        stalled, _ = sorted([first, second], key=lambda f: len(f.data))
        assert len(stalled.data) == 50 and not stalled.ended


def test_slow_limits_the_rate(sandbox: SandboxProcess, ended: str) -> None:
    fault = sandbox.fault("slow", pod=ended, bytes_per_second=10)["id"]
    with sandbox.kube.following(ended) as slow:
        slow.wait_for(lambda f: f.data, "its first bytes")
        sandbox.kube.request("DELETE", f"/sandbox/faults/{fault}")
        # Another stream gets all 1000 bytes before the slow one has more than a few.
        assert len(sandbox.kube.logs(ended)) == 1000
        assert len(slow.data) < 1000 and not slow.ended
    sandbox.fault("slow", pod=ended, bytes_per_second=100_000)
    assert len(sandbox.kube.logs(ended)) == 1000


def test_garbage_is_text_in_a_200(sandbox: SandboxProcess, ended: str) -> None:
    sandbox.fault("garbage", pod=ended, count=1)
    response = sandbox.kube.log(ended, timestamps="true")
    assert response.status_code == 200
    assert response.text.startswith("unable to retrieve container logs for containerd://")
    assert len(sandbox.kube.logs(ended)) == 1000


@pytest.mark.parametrize(
    ("code", "reason"),
    [(410, "Expired"), (500, ""), (503, "ServiceUnavailable"), (504, "Timeout"), (401, "Unauthorized")],
)
def test_status_for_the_next_requests_of_a_path(sandbox: SandboxProcess, ended: str, code: int, reason: str) -> None:
    sandbox.fault("status", code=code, path=f"/pods/{ended}/log", retry_after=7, count=2)
    for _ in range(2):
        response = sandbox.kube.log(ended)
        body = response.json()
        assert (response.status_code, body["code"], body.get("reason", "")) == (code, code, reason)
        assert (body["kind"], body["status"]) == ("Status", "Failure") and body["message"]
        assert response.headers["Retry-After"] == "7"
        assert sandbox.kube.get("pods", ended)
    assert sandbox.kube.log(ended).status_code == 200


def test_status_429_is_plain_text(sandbox: SandboxProcess, ended: str) -> None:
    sandbox.fault("status", code=429, path=f"/pods/{ended}/log", count=1)
    response = sandbox.kube.log(ended)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.text == "Too many requests, please try again later.\n"


def test_drop_closes_the_connection_without_an_answer(sandbox: SandboxProcess, ended: str) -> None:
    sandbox.fault("drop", path=f"/pods/{ended}$", count=1)
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.kube.request("GET", sandbox.kube.path("pods", ended))
    assert sandbox.kube.get("pods", ended)


def test_idle_connections_are_closed(sandbox: SandboxProcess, new_sandbox: NewSandbox, tmp_path: Path) -> None:
    with new_sandbox(tmp_path, "--idle", "0.2") as quick:
        for process in (quick, sandbox):
            address = urllib.parse.urlsplit(process.kube.server)
            with socket.create_connection((address.hostname, address.port), 20) as connection:
                connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
                assert connection.recv(1)
                if process is sandbox:
                    sandbox.fault("idle")
                while connection.recv(1 << 16):
                    pass


def test_deny_answers_403_and_access_reviews_agree(sandbox: SandboxProcess, ended: str) -> None:
    review = {
        "spec": {
            "resourceAttributes": {"verb": "get", "resource": "pods", "subresource": "log", "namespace": "default"}
        }
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    sandbox.fault("deny", verb="get", resource="pods/log")
    response = sandbox.kube.log(ended)
    text = f'pods "{ended}" is forbidden: User "sandbox" cannot get resource "pods/log" in API group "" in the namespace "default"'
    assert (response.status_code, response.json()["message"]) == (403, text)
    assert sandbox.kube.request("POST", path, json=review).json()["status"]["allowed"] is False
    sandbox.clear()
    assert sandbox.kube.request("POST", path, json=review).json()["status"]["allowed"] is True


def test_deny_can_name_the_group_of_a_resource(sandbox: SandboxProcess) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

    def is_allowed(group: str) -> bool:
        attributes = {"verb": "list", "resource": "jobs", "group": group, "namespace": "default"}
        answer = sandbox.kube.request("POST", path, json={"spec": {"resourceAttributes": attributes}}).json()
        allowed: bool = answer["status"]["allowed"]
        return allowed

    sandbox.fault("deny", verb="list", resource="jobs.batch.volcano.sh")
    assert is_allowed("batch") and not is_allowed("batch.volcano.sh")
    assert sandbox.kube.request("GET", sandbox.kube.path("jobs")).is_success
    sandbox.clear()
    sandbox.fault("deny", verb="list", resource="jobs")  # without a group: in all of them
    assert not is_allowed("batch") and not is_allowed("batch.volcano.sh")


def test_expire_ends_watches_with_410(sandbox: SandboxProcess) -> None:
    with sandbox.kube.watching("namespaces") as watch:
        watch.wait_for(lambda w: w.lines)
        sandbox.fault("expire")
        assert b'"code":410' in watch.join()


def test_a_watch_is_cut_by_its_path(sandbox: SandboxProcess, ended: str) -> None:
    with sandbox.kube.watching("pods") as watch:
        watch.wait_for(lambda w: w.lines)
        sandbox.fault("cut", path="/pods\\?watch=", count=1)
        watch.join()
        assert watch.error is None


def test_rotate_is_immediate(sandbox: SandboxProcess, start: Callable[..., str]) -> None:
    name = start(LIVE)
    with sandbox.kube.following(name) as follower:
        follower.wait_for(lambda f: len(f.lines) > 3)
        assert sandbox.fault("rotate", pod=name)["hits"] == 1
        count = len(follower.lines)
        follower.wait_for(lambda f: len(f.lines) > count + 5, "lines of the new file")
        # It was at the end of the file, so it follows into the new one.
        assert follower.lines == [b"line %04d" % i for i in range(len(follower.lines))]
    assert not sandbox.kube.logs(name).startswith(b"line 0000")


def test_blind_follow_stays_silent_on_the_old_file(sandbox: SandboxProcess, start: Callable[..., str]) -> None:
    name = start(LIVE)
    with sandbox.kube.following(name) as blind:
        blind.wait_for(lambda f: len(f.lines) > 3)
        sandbox.fault("blind", pod=name, count=1)
        sandbox.fault("rotate", pod=name)
        sandbox.kube.wait_for(lambda: not sandbox.faults(), "the fault to be used up")
        sandbox.kube.wait_for(lambda: sandbox.kube.logs(name).count(b"\n") > 10, "lines in the new file")
        data, first = blind.data, sandbox.kube.logs(name).splitlines()[0]
        sandbox.kube.wait_for(lambda: sandbox.kube.logs(name).count(b"\n") > 20, "more lines in the new file")
        assert blind.data == data and first not in data and not blind.ended
        sandbox.fault("rotate", pod=name)
        blind.wait_for(lambda f: len(f.data) > len(data), "lines after the next rotation")


def test_delete_log_makes_the_runtime_forget_the_log(sandbox: SandboxProcess, ended: str) -> None:
    sandbox.fault("delete-log", pod=ended)
    assert sandbox.kube.logs(ended).startswith(b"unable to retrieve container logs for containerd://")


@pytest.mark.parametrize(("kind", "code", "reason"), [("kill", 137, "Error"), ("oom", 137, "OOMKilled")])
def test_kill(sandbox: SandboxProcess, start: Callable[..., str], kind: str, code: int, reason: str) -> None:
    name = start(LIVE)
    sandbox.fault(kind, pod=name, container="main")
    pod = sandbox.kube.wait_pod(name, lambda p: p["status"]["phase"] == "Failed")
    ended = main(pod)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (code, reason)


def timestamps(log: bytes) -> list[str]:
    return [line.split(b" ")[0].decode() for line in log.splitlines()]


def test_clock_with_a_coarse_resolution_repeats_times(
    sandbox: SandboxProcess, unique: Callable[[str], str], start: Callable[..., str]
) -> None:
    sandbox.fault("clock", pod="fault-.*", resolution=1)
    name = start(SHORT)
    sandbox.kube.wait_pod(name, lambda p: p["status"]["phase"] == "Succeeded")
    counts = Counter(timestamps(sandbox.kube.logs(name, timestamps="true")))
    assert len(counts) <= 2 and all(s.endswith(".000000000Z") for s in counts)


def test_clock_fixed_then_later_again(sandbox: SandboxProcess, start: Callable[..., str]) -> None:
    name = start(LIVE)
    sandbox.fault("clock", pod=name, at=1_700_000_000_123_456_700)
    log = sandbox.kube.wait_for(
        lambda: sandbox.kube.logs(name, timestamps="true", tailLines=3).count(b"2023-11-14T22:13:20.123456700Z ") == 3
    )
    assert log
    sandbox.clear()
    sandbox.kube.wait_for(lambda: timestamps(sandbox.kube.logs(name, timestamps="true", tailLines=1))[0] > "2024")


def test_clock_skew(sandbox: SandboxProcess, start: Callable[..., str]) -> None:
    sandbox.fault("clock", pod="fault-.*", offset=-7200)
    name = start(SHORT)
    sandbox.kube.wait_pod(name, lambda p: p["status"]["phase"] == "Succeeded")
    hour = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 7000))
    assert timestamps(sandbox.kube.logs(name, timestamps="true"))[0] < hour


def test_image_that_becomes_present(sandbox: SandboxProcess, unique: Callable[[str], str]) -> None:
    name = unique("image")
    sandbox.kube.create(python_pod(name, "print('here')", image="docker.io/local/missing:2"))

    def waiting(pod: dict[str, Any]) -> bool:
        return (
            main(pod)["state"].get("waiting", {}).get("reason") == "ErrImageNeverPull"
            if pod["status"].get("containerStatuses")
            else False
        )

    sandbox.kube.wait_pod(name, waiting)
    sandbox.fault("image", image=".*/missing:2")
    sandbox.kube.wait_pod(name, lambda p: p["status"]["phase"] == "Succeeded")
    sandbox.kube.delete("pods", name)


def test_slow_pull_shows_container_creating(sandbox: SandboxProcess, unique: Callable[[str], str]) -> None:
    name = unique("pull")
    sandbox.fault("pull", image=".*busybox:7", seconds=30)
    sandbox.kube.create(python_pod(name, "", image="docker.io/local/busybox:7"))
    sandbox.kube.wait_pod(name, lambda p: p["status"].get("containerStatuses"))
    response = sandbox.kube.log(name)
    assert response.json()["message"] == f'container "main" in pod "{name}" is waiting to start: ContainerCreating'
    sandbox.kube.delete("pods", name)


def test_scheduling_delay(sandbox: SandboxProcess, unique: Callable[[str], str]) -> None:
    name = unique("late")
    pod = python_pod(name, "print('late')")
    pod["metadata"]["annotations"] = {"sandbox.cortex/schedule-after": "0.5"}
    sandbox.kube.create(pod)
    assert sandbox.kube.log(name).status_code == 204
    sandbox.kube.wait_pod(name, lambda p: p["status"]["phase"] == "Succeeded")
    sandbox.kube.delete("pods", name)


@pytest.mark.parametrize("options", [{"kind": "meteor"}, {"kind": "cut", "colour": "red"}, {"kind": "cut", "pod": "("}])
def test_invalid_fault_is_refused(sandbox: SandboxProcess, options: dict[str, Any]) -> None:
    with pytest.raises(KubeError) as caught:
        sandbox.fault(**options)
    assert caught.value.response.status_code == 400
    assert sandbox.faults() == []
