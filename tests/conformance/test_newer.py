"""Features of Kubernetes since 1.20, as a user sees them: kinds, states, exit codes, and every line once."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.jupyter import Home
from support.kube import python_container, python_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.conftest import Create
    from conftest import Target
    from support.kube import Kube

Object = dict[str, Any]

#: Prints its index, then runs the code `how`.
INDEXED = "import os, sys, time; index = int(os.environ['JOB_COMPLETION_INDEX']); print('index', index); {how}"
#: After SIGTERM, runs on until the file `gate` exists.
STUBBORN = """
import os, signal, sys, time
def leave(*_):
    print('leaving')
    while not os.path.exists({gate!r}): time.sleep(0.02)
    print('gone')
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print('begun')
while True: time.sleep(0.05)
"""
#: Waits until the file `gate` exists.
WAIT = "[time.sleep(0.02) for _ in iter(lambda: os.path.exists({gate!r}), True)]"


@pytest.fixture
def user(target: Target, tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path, target.kube.kubeconfig, {"CORTEX_STORE": f"sqlite:///{tmp_path / 'store.sqlite'}"})
    yield home
    home.end()


def follow(user: Home, name: str) -> tuple[int, str]:
    """Follow a task to its end; return the exit code and the text on stderr."""
    result = user.run("cortex-jupyter", "logs", name, "-f", "--since", "all")
    return result.returncode, result.stderr


class Following:
    """A `logs -f` that runs beside the test."""

    def __init__(self, kube: Kube, user: Home, name: str) -> None:
        self._kube, self._user, self._path = kube, user, user.path / "stdout"
        with self._path.open("wb") as out, (user.path / "stderr").open("wb") as err:
            command = ["cortex-jupyter", "logs", name, "-f", "--since", "all", "--prefix", "never"]
            self._process = subprocess.Popen(command, env=user.env, cwd=user.path, stdout=out, stderr=err)

    def until(self, text: str) -> None:
        """Wait until a line has arrived."""
        self._kube.wait_for(lambda: text in self._path.read_text().splitlines(), f"the line {text!r}", 120)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and the text on stderr."""
        return self._process.wait(200), (self._user.path / "stderr").read_text()


def lines(user: Home, name: str) -> list[tuple[str, str, int, str]]:
    """Return (container, kind, run, text) of all recorded lines, in order."""
    code = f"""
import json, cortex_jupyter as cortex
table = cortex.logs({name!r}).to_pandas()
print(json.dumps(table[["container", "kind", "run", "text"]].values.tolist()))
"""
    return [tuple(row) for row in json.loads(user.python(code).splitlines()[-1])]


def state(user: Home, name: str) -> Object:
    """Return a task as `tasks` lists it."""
    tasks = json.loads(user.run("cortex-jupyter", "tasks", "-o", "json").stdout)["tasks"]
    task: Object = next(t for t in tasks if t["name"] == name)
    return task


def conditions(job: Object) -> list[tuple[str, str]]:
    return [(c["type"], c.get("reason", "")) for c in job["status"].get("conditions") or [] if c["status"] == "True"]


def indexed(name: str, how: str, completions: int = 3, **spec: Any) -> Object:
    job = python_job(name, INDEXED.format(how=how), parallelism=completions, completionMode="Indexed", **spec)
    if "backoffLimitPerIndex" in spec:
        del job["spec"]["backoffLimit"]
    return job


# ---------------------------------------------------------------- containers


def test_sidecars_have_their_own_kind_and_end_in_reverse_order(target: Target, create: Create, user: Home) -> None:
    target.needs(29, "sidecars by `restartPolicy: Always`")
    sidecar = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (print('{0} ends', time.time()), sys.exit(0)))\nprint('{0} up'); time.sleep(600)"
    job = python_job("sidecars", "import time; time.sleep(1); print('main')", init="print('prepared')")
    job["spec"]["template"]["spec"]["initContainers"] += [
        python_container(name, sidecar.format(name), restartPolicy="Always") for name in ("first", "second")
    ]
    name = create(job)
    code, messages = follow(user, name)
    assert code == 0 and "complete" in messages
    recorded = lines(user, name)
    assert {(container, kind) for container, kind, _, _ in recorded} == {
        ("prepare", "init"),
        ("first", "sidecar"),
        ("second", "sidecar"),
        ("main", "main"),
    }
    ends = {container: float(text.split()[-1]) for container, _, _, text in recorded if " ends " in text}
    assert ends["second"] < ends["first"]
    assert sorted(text.split(" ends")[0] for *_, text in recorded) == [
        "first",
        "first up",
        "main",
        "prepared",
        "second",
        "second up",
    ]


def test_an_ephemeral_container_is_a_source_of_its_own_kind(target: Target, create: Create, user: Home) -> None:
    target.needs(25, "stable ephemeral containers")
    name = create(python_job("ephemeral", "import time; print('main'); time.sleep(5)"))
    target.kube.wait_for(lambda: target.kube.pods_of(name), "its pod")
    pod = target.kube.pods_of(name)[0]["metadata"]["name"]
    target.kube.wait_pod(pod, lambda p: p["status"]["phase"] == "Running")
    added = {"spec": {"ephemeralContainers": [python_container("debugger", "print('looking')")]}}
    path = target.kube.path("pods", pod, sub="ephemeralcontainers")
    headers = {"Content-Type": "application/strategic-merge-patch+json"}
    assert target.kube.request("PATCH", path, json=added, headers=headers).status_code == 200
    assert follow(user, name)[0] == 0
    assert sorted(lines(user, name)) == [("debugger", "ephemeral", 0, "looking"), ("main", "main", 0, "main")]


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_a_rule_restarts_a_container_in_place(
    target: Target, create: Create, user: Home, tmp_path: Path, policy: str
) -> None:
    target.needs(35, "`restartPolicyRules` of containers")
    gate = str(tmp_path / "go")
    # In the sandbox, the working folder survives a restart of the container.
    program = f"import os, sys, time; n = len(os.listdir('.')); open(f'ran{{n}}', 'w'); print('run', n); {WAIT.format(gate=gate)}; sys.exit(42 if n < 1 else 0)"
    job = python_job("rules", program)
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    main = job["spec"]["template"]["spec"]["containers"][0]
    main |= {"restartPolicy": policy, "restartPolicyRules": [rule]}
    name = create(job)
    following = Following(target.kube, user, name)
    following.until("run 0")
    Path(gate).touch()
    assert following.end()[0] == 0
    assert lines(user, name) == [("main", "main", run, f"run {run}") for run in (0, 1)]


def test_all_containers_restarted_in_place(target: Target, create: Create, user: Home, tmp_path: Path) -> None:
    """Each run is a source of its own, and every line is recorded, although the kubelet deletes logs of ended runs."""
    target.needs(35, "`RestartAllContainers`")
    gate = str(tmp_path / "go")
    head = "import os, sys, time; n = len([x for x in os.listdir('.') if x.startswith('ran')])"
    program = f"{head}; open(f'ran{{n}}', 'w'); [print('run', n, i) for i in range(50)]; {WAIT.format(gate=gate)}; sys.exit(88 if n < 1 else 0)"
    job = python_job("restart-all", program, init="print('prepared')")
    rule = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}
    spec = job["spec"]["template"]["spec"]
    spec["containers"][0] |= {"restartPolicyRules": [rule], "restartPolicy": "Never"}
    beside = f"import os, time; print('beside'); {WAIT.format(gate=gate + '2')}"
    spec["containers"].append(python_container("beside", beside))
    name = create(job)
    following = Following(target.kube, user, name)
    for text in ("prepared", "run 0 49", "beside"):  # the kubelet deletes these logs at the restart
        following.until(text)
    Path(gate).touch()
    following.until("run 1 49")
    Path(gate + "2").touch()
    code, messages = following.end()
    (pod,) = target.kube.pods_of(name)
    states = {s["name"]: s for s in pod["status"]["containerStatuses"]}
    assert [states[n]["restartCount"] for n in ("main", "beside")] == [1, 1]
    assert states["main"]["lastState"]["terminated"]["exitCode"] == 88
    assert ("AllContainersRestarting", "False") in {(c["type"], c["status"]) for c in pod["status"]["conditions"]}
    recorded = lines(user, name)
    main_lines = [(run, text.split()[-1]) for container, _, run, text in recorded if container == "main"]
    assert code == 0 and sorted(main_lines) == sorted((run, str(i)) for run in (0, 1) for i in range(50)), messages
    assert sorted((container, run) for container, _, run, _ in recorded if container != "main") == [
        ("beside", 0),
        ("beside", 1),
        ("prepare", 0),
        ("prepare", 1),
    ]


# ---------------------------------------------------------------- how a Job ends


def test_a_failing_job_runs_until_its_pods_have_stopped(
    target: Target, create: Create, user: Home, tmp_path: Path
) -> None:
    target.needs(31, "`FailureTarget` until all pods have ended")
    gate, fail = str(tmp_path / "go"), str(tmp_path / "fail")
    how = f"exec({STUBBORN.format(gate=gate)!r}) if index else None; {WAIT.format(gate=fail)}; sys.exit(3)"
    job = indexed("failing", how, 2, backoffLimit=0)
    job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 300
    name = create(job)
    following = Following(target.kube, user, name)
    for text in ("index 0", "begun"):
        following.until(text)
    Path(fail).touch()
    following.until("leaving")
    assert conditions(target.kube.get("jobs", name)) == [("FailureTarget", "BackoffLimitExceeded")]
    task = state(user, name)
    assert (task["state"], task["finished"], task["exit_code"]) == ("running", None, None)
    assert "BackoffLimitExceeded" in task["message"], task
    Path(gate).touch()
    code, messages = following.end()
    assert code == 3, messages
    assert conditions(target.kube.get("jobs", name))[1:] == [("Failed", "BackoffLimitExceeded")]
    assert state(user, name)["state"] == "failed"
    assert sorted(text for *_, text in lines(user, name)) == ["begun", "gone", "index 0", "index 1", "leaving"]


def test_a_job_that_met_its_success_policy_runs_until_its_pods_have_stopped(
    target: Target, create: Create, user: Home, tmp_path: Path
) -> None:
    target.needs(33, "stable `successPolicy`")
    gate, done = str(tmp_path / "go"), str(tmp_path / "done")
    how = f"exec({STUBBORN.format(gate=gate)!r}) if index < 1 else None; {WAIT.format(gate=done)}"
    rules = [{"succeededIndexes": "0-1", "succeededCount": 1}]
    job = indexed("success", how, 2, successPolicy={"rules": rules})
    job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 300
    name = create(job)
    following = Following(target.kube, user, name)
    for text in ("index 1", "begun"):
        following.until(text)
    Path(done).touch()
    following.until("leaving")
    assert conditions(target.kube.get("jobs", name)) == [("SuccessCriteriaMet", "SuccessPolicy")]
    task = state(user, name)
    assert (task["state"], task["finished"], task["exit_code"]) == ("running", None, None), task
    Path(gate).touch()
    code, messages = following.end()
    assert code == 0 and "Job complete" in messages
    assert conditions(target.kube.get("jobs", name))[1:] == [("Complete", "SuccessPolicy")]
    assert sorted(text for *_, text in lines(user, name)) == ["begun", "gone", "index 0", "index 1", "leaving"]


def test_failures_are_counted_by_index(target: Target, create: Create, user: Home) -> None:
    target.needs(33, "stable `backoffLimitPerIndex`")
    name = create(indexed("per-index", "sys.exit(7 if index == 1 else 0)", 3, backoffLimitPerIndex=1))
    code, messages = follow(user, name)
    job = target.kube.get("jobs", name)
    assert (job["status"]["failedIndexes"], job["status"]["completedIndexes"]) == ("1", "0,2")
    assert conditions(job)[-1] == ("Failed", "FailedIndexes")
    assert code == 7 and "FailedIndexes" in messages
    assert sorted(text for *_, text in lines(user, name)) == ["index 0", "index 1", "index 1", "index 2"]


def test_too_many_failed_indexes_end_a_job(target: Target, create: Create, user: Home, tmp_path: Path) -> None:
    target.needs(33, "stable `maxFailedIndexes`")
    fail = str(tmp_path / "fail")
    how = f"{WAIT.format(gate=fail)}; sys.exit(7) if index < 2 else time.sleep(600)"
    name = create(indexed("max-failed", how, 3, backoffLimitPerIndex=0, maxFailedIndexes=1))
    following = Following(target.kube, user, name)
    for index in range(3):
        following.until(f"index {index}")
    Path(fail).touch()
    code, messages = following.end()
    assert code == 7 and "MaxFailedIndexesExceeded" in messages
    assert sorted(text for *_, text in lines(user, name)) == ["index 0", "index 1", "index 2"]


@pytest.mark.parametrize(("exit_code", "pods", "reason"), [(42, 1, "PodFailurePolicy"), (1, 2, "BackoffLimitExceeded")])
def test_a_failure_policy_ends_a_job_at_once(
    target: Target, create: Create, user: Home, exit_code: int, pods: int, reason: str
) -> None:
    target.needs(31, "stable `podFailurePolicy`")
    rules = [{"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}}]
    job = python_job(
        "policy", f"print('ran'); raise SystemExit({exit_code})", backoff=1, podFailurePolicy={"rules": rules}
    )
    name = create(job)
    code, messages = follow(user, name)
    assert code == exit_code and reason in messages
    assert len(lines(user, name)) == pods


def test_an_ignored_failure_is_not_counted(target: Target, create: Create, user: Home) -> None:
    target.needs(31, "stable `podFailurePolicy`")
    rules = [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [5]}}]
    name = create(indexed("ignored", "sys.exit(5)", 1, backoffLimit=0, podFailurePolicy={"rules": rules}))
    target.kube.wait_for(lambda: len(target.kube.pods_of(name)) > 2, "the third pod")
    assert state(user, name)["state"] == "running"


def test_a_pod_is_replaced_only_after_its_end(target: Target, create: Create, user: Home, tmp_path: Path) -> None:
    target.needs(34, "stable `podReplacementPolicy`")
    gate = tmp_path / "gate"
    job = python_job("replaced", STUBBORN.format(gate=str(gate)), podReplacementPolicy="Failed", backoff=3)
    job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 30
    name = create(job)
    first = target.kube.wait_for(lambda: target.kube.pods_of(name), "its pod")[0]["metadata"]["name"]
    target.kube.wait_for(lambda: b"begun" in target.kube.log(first).content, "its first line")
    target.kube.delete("pods", first, grace=None)
    job = target.kube.wait_for(
        lambda: (job := target.kube.get("jobs", name))["status"].get("terminating") and job, "the pod to stop"
    )
    assert job["status"].get("active", 0) == 0 and len(target.kube.pods_of(name)) == 1
    gate.touch()
    target.kube.wait_for(
        lambda: [p for p in target.kube.pods_of(name) if p["metadata"]["name"] != first], "the next pod"
    )
    assert all(p["metadata"]["name"] != first for p in target.kube.pods_of(name))
    assert state(user, name)["state"] in ("pending", "running")


def test_a_job_of_another_controller_is_not_started(target: Target, create: Create, user: Home) -> None:
    target.needs(35, "stable `managedBy`")
    name = create(python_job("managed", "print('never')", managedBy="example.com/queue"))
    good = create(python_job("own", "print('ran')", managedBy="kubernetes.io/job-controller"))
    target.kube.wait_job(good)
    assert not target.kube.pods_of(name) and not target.kube.get("jobs", name)["status"]
    task = state(user, name)
    assert task["state"] == "pending" and "example.com/queue" in task["message"], task


def test_a_suspended_job_runs_when_resumed(target: Target, create: Create, user: Home) -> None:
    target.needs(24, "stable suspended Jobs")
    name = create(python_job("suspended", "print('ran')", suspend=True))
    target.kube.wait_job(name, "Suspended")
    assert (state(user, name)["state"], state(user, name)["pods"]) == ("pending", 0)
    target.kube.patch("jobs", name, {"spec": {"suspend": False}})
    assert follow(user, name)[0] == 0
    assert [text for *_, text in lines(user, name)] == ["ran"]
