"""Custom resources are tasks: from the command line and in Python, from the first pod to the end and beyond."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.jupyter import Home
from support.kube import python_job
from support.operators import Custom, condition, create_pod, define, reference

from cortex_jupyter.store.open import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Target
    from support.kube import Kube

PRINT = "import time\nfor i in range(20): print('{} line', i, flush=True); time.sleep(0.05)\n"


class Cli:
    """The command line, with a store of its own."""

    def __init__(self, kube: Kube, folder: Path) -> None:
        self.home = Home(folder, kube.kubeconfig, {"CORTEX_STORE": f"sqlite:///{folder}/store/r.sqlite"})

    def __call__(self, *arguments: str, code: int = 0) -> str:
        command = [sys.executable, "-m", "cortex_jupyter.cli", *arguments]
        done = subprocess.run(command, env=self.home.env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def texts(self, *arguments: str, code: int = 0) -> list[str]:
        output = self("logs", *arguments, "--since", "all", "-o", "ndjson", code=code)
        return [json.loads(line)["text"] for line in output.splitlines() if line.startswith("{")]


@pytest.fixture
def cli(target: Target, tmp_path: Path) -> Iterator[Cli]:
    cli = Cli(target.kube, tmp_path)
    yield cli
    cli.home.end()


def test_a_ray_job_is_one_task(target: Target, unique: Callable[[str], str], cli: Cli) -> None:
    """Its pods belong to its RayCluster. The submitter's pod belongs to a Job of the same name."""
    kube, name = target.kube, unique("tune")
    define(kube, "ray.io", "v1", "RayJob", "rayjobs")
    define(kube, "ray.io", "v1", "RayCluster", "rayclusters")
    ray_job = Custom(kube, "ray.io/v1", "RayJob", "rayjobs", name)
    cluster = Custom(kube, "ray.io/v1", "RayCluster", "rayclusters", f"{name}-9x2kd", ray_job.reference)
    ray_job.set_status(rayClusterName=cluster.name, jobDeploymentStatus="Initializing")
    for kind in ("head", "worker-0", "worker-1"):
        labels = {"ray.io/cluster": cluster.name, "ray.io/node-type": kind.partition("-")[0]}
        create_pod(kube, f"{cluster.name}-{kind}", PRINT.format(kind), cluster.reference, labels)
    job = python_job(name, PRINT.format("submitter"))
    job["metadata"]["ownerReferences"] = [ray_job.reference]
    kube.create(job)
    ray_job.set_status(rayClusterName=cluster.name, jobDeploymentStatus="Running", jobStatus="RUNNING")
    kube.wait_job(name)
    rows = [row for row in json.loads(cli("tasks", "-o", "json"))["tasks"] if name in row["name"]]
    assert [(row["task"], row["state"], row["pods"]) for row in rows] == [
        (f"default:rayjob.ray.io/{name}", "running", 4)
    ]
    ray_job.set_status(rayClusterName=cluster.name, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    texts = cli.texts("-f", f"rayjob/{name}")
    assert sorted(texts) == sorted(
        f"{who} line {i}" for who in ("head", "worker-0", "worker-1", "submitter") for i in range(20)
    )
    (row,) = [row for row in json.loads(cli("tasks", "-o", "json"))["tasks"] if name in row["name"]]
    assert (row["state"], row["message"]) == ("succeeded", "RayJob complete exit 0")
    ray_job.delete()
    kube.wait_for(
        lambda: not [p for p in kube.list("pods")["items"] if p["metadata"]["name"].startswith(name)], "pods to go"
    )
    assert sorted(cli.texts(f"rayjobs.ray.io/{name}")) == sorted(texts), "its log outlives it"


def test_a_job_set_has_roles_ranks_and_attempts(target: Target, unique: Callable[[str], str], cli: Cli) -> None:
    """At a restart its operator deletes the Jobs and creates them again under the same names."""
    target.needs(22, "an Indexed Job")
    kube, name = target.kube, unique("train")
    define(kube, "jobset.x-k8s.io", "v1alpha2", "JobSet", "jobsets")
    job_set = Custom(kube, "jobset.x-k8s.io/v1alpha2", "JobSet", "jobsets", name)
    roles = {"driver": 1, "worker": 3}

    def run_jobs(attempt: int) -> None:
        for role, count in roles.items():
            say = f"print('{role}', os.environ['JOB_COMPLETION_INDEX'], '{attempt}', flush=True)\n"
            job = python_job(f"{name}-{role}-0", f"import os\n{say}", parallelism=count, completionMode="Indexed")
            labels = {
                "jobset.sigs.k8s.io/jobset-name": name,
                "jobset.sigs.k8s.io/replicatedjob-name": role,
                "jobset.sigs.k8s.io/replicatedjob-replicas": "1",
                "jobset.sigs.k8s.io/job-index": "0",
                "jobset.sigs.k8s.io/restart-attempt": str(attempt),
            }
            job["metadata"] |= {"labels": labels, "ownerReferences": [job_set.reference]}
            job["spec"]["template"]["metadata"] = {"labels": labels, "annotations": labels}
            kube.create(job)
        for role in roles:
            kube.wait_job(f"{name}-{role}-0")

    run_jobs(0)
    assert len(cli.texts(f"jobset/{name}")) == 4
    job_set.set_status(restarts=1)
    for role in roles:
        kube.delete("jobs", f"{name}-{role}-0")
        kube.wait_for(lambda role=role: not kube.pods_of(f"{name}-{role}-0"), "its pods to go")  # type: ignore[misc]
    run_jobs(1)
    job_set.set_status(restarts=1, conditions=[condition("Completed", reason="AllJobsCompleted")])
    whole = sorted(
        f"{role} {rank} {attempt}" for role, count in roles.items() for rank in range(count) for attempt in (0, 1)
    )
    output = cli("logs", f"jobset/{name}", "-f", "--since", "all", "-o", "ndjson")
    records = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert sorted(record["text"] for record in records) == whole
    assert all(record["text"] == f"{record['role']} {record['rank']} {record['attempt']}" for record in records)
    chosen = cli.texts(f"jobset/{name}", "--role", "worker", "--rank", "1-7", "--attempt", "-1")
    assert sorted(chosen) == ["worker 1 1", "worker 2 1"]


def test_a_kind_that_nobody_knows_ends_with_its_condition(
    target: Target, unique: Callable[[str], str], cli: Cli
) -> None:
    kube, name = target.kube, unique("exp")
    define(kube, "lab.example.org", "v1beta1", "Experiment", "experiments", short_names=("expt",))
    experiment = Custom(kube, "lab.example.org/v1beta1", "Experiment", "experiments", name)
    experiment.set_status(conditions=[condition("Queued", message="waits for 8 GPUs")])
    assert "waits for 8 GPUs" in cli("logs", f"expt/{name}", code=0)
    pod = create_pod(kube, f"{name}-0", PRINT.format("driver"), experiment.reference)
    create_pod(kube, f"{name}-exec-1", PRINT.format("executor") + "raise SystemExit(3)", reference(pod))
    kube.wait_pod(f"{name}-exec-1", lambda p: p["status"]["phase"] == "Failed")
    experiment.set_status(conditions=[condition("Failed", reason="ExecutorFailed", message="executor 1 failed")])
    texts = cli.texts("-f", f"EXPERIMENT/{name}", code=3)
    assert sorted(texts) == sorted(f"{who} line {i}" for who in ("driver", "executor") for i in range(20))


def test_an_unknown_kind_names_similar_ones(target: Target, cli: Cli) -> None:
    define(target.kube, "ray.io", "v1", "RayJob", "rayjobs")
    output = cli("logs", "rayjb/x", code=1)
    assert "the cluster has no kind 'rayjb'" in output and "rayjob" in output


def test_a_collector_records_the_topmost_owners(target: Target, unique: Callable[[str], str], cli: Cli) -> None:
    """A TrainJob has a JobSet, which has Jobs; a kind without a row is found by its pods."""
    kube, space = target.kube, unique("team")
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
    for group, version, kind, plural in (
        ("trainer.kubeflow.org", "v1alpha1", "TrainJob", "trainjobs"),
        ("jobset.x-k8s.io", "v1alpha2", "JobSet", "jobsets"),
        ("lab.example.org", "v1beta1", "Experiment", "experiments"),
    ):
        define(kube, group, version, kind, plural)
    command = [sys.executable, "-m", "cortex_jupyter.cli", "record", "--all", "-n", space]
    with (cli.home.path / "collector.log").open("wb") as log:
        collector = subprocess.Popen(command, env=cli.home.env, stdout=log, stderr=log)
    try:
        train_job = Custom(kube, "trainer.kubeflow.org/v1alpha1", "TrainJob", "trainjobs", "bert", namespace=space)
        job_set = Custom(
            kube, "jobset.x-k8s.io/v1alpha2", "JobSet", "jobsets", "bert", train_job.reference, namespace=space
        )
        job = python_job("bert-node-0", PRINT.format("node"), namespace=space)
        job["metadata"]["ownerReferences"] = [job_set.reference]
        kube.create(job)
        experiment = Custom(kube, "lab.example.org/v1beta1", "Experiment", "experiments", "exp", namespace=space)
        create_pod(kube, "exp-0", PRINT.format("exp"), experiment.reference, namespace=space)
        kube.create(python_job("plain", PRINT.format("plain"), namespace=space))
        kube.wait_job("bert-node-0", namespace=space)
        kube.wait_job("plain", namespace=space)
        kube.wait_pod("exp-0", lambda pod: pod["status"]["phase"] == "Succeeded", namespace=space)
        job_set.set_status(conditions=[condition("Completed")])
        train_job.set_status(conditions=[condition("Complete", reason="AllJobsCompleted")])
        experiment.set_status(phase="Succeeded")
        expected = {"trainjob.trainer.kubeflow.org/bert", "experiment.lab.example.org/exp", "job/plain"}

        def complete() -> bool:
            with contextlib.closing(open_store(cli.home.env["CORTEX_STORE"])) as store:
                infos = store.recordings(space)
                assert {f"{info.ref.kind}/{info.ref.name}" for info in infos} <= expected
                return len([info for info in infos if info.done]) == len(expected)

        kube.wait_for(complete, "the recordings of all tasks, and of nothing else")
    finally:
        collector.terminate()
        collector.wait(60)
        kube.delete("namespaces", space)
    assert sorted(cli.texts("-n", space, "trainjob.trainer.kubeflow.org/bert")) == sorted(
        f"node line {i}" for i in range(20)
    )


@pytest.mark.parametrize("is_allowed", [False, True])
def test_jobs_of_what_we_may_not_watch_or_what_never_ends_are_tasks_of_their_own(
    target: Target, unique: Callable[[str], str], cli: Cli, request: pytest.FixtureRequest, is_allowed: bool
) -> None:
    """KEDA's ScaledJob is such a kind: it creates one Job after the other."""
    if target.real and not is_allowed:
        pytest.skip("only the sandbox refuses a right for a while")
    kube, space = target.kube, unique("keda")
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
    define(kube, "keda.sh", "v1alpha1", "ScaledJob", "scaledjobs")
    if not is_allowed:
        sandbox = request.getfixturevalue("sandbox")
        for verb in ("list", "watch", "get"):
            sandbox.fault("deny", verb=verb, resource="scaledjobs.keda.sh", namespace=space)
    command = [sys.executable, "-m", "cortex_jupyter.cli", "record", "--all", "-n", space]
    with (cli.home.path / "collector.log").open("wb") as log:
        collector = subprocess.Popen(command, env=cli.home.env, stdout=log, stderr=log)
    try:
        scaled = Custom(kube, "keda.sh/v1alpha1", "ScaledJob", "scaledjobs", "sj", namespace=space)
        scaled.set_status(conditions=[condition("Ready")])
        owners = {"sj-1": scaled.reference, "sj-2": scaled.reference}
        if not target.real:  # a real garbage collector deletes objects whose owner does not exist
            owners["odd"] = reference(scaled.obj) | {"name": "../../../../api/v1/nodes"}
        for name, owner in owners.items():
            job = python_job(name, PRINT.format(name), namespace=space)
            job["metadata"]["ownerReferences"] = [owner]
            kube.create(job)

        def complete() -> bool:
            with contextlib.closing(open_store(cli.home.env["CORTEX_STORE"])) as store:
                done = {f"{info.ref.kind}/{info.ref.name}" for info in store.recordings(space) if info.done}
                return done == {f"job/{name}" for name in owners}

        kube.wait_for(complete, "the recordings of all Jobs")
    finally:
        collector.terminate()
        collector.wait(60)
        kube.delete("namespaces", space)


def test_with_rights_on_pods_alone_the_direct_owner_is_a_task(
    target: Target, unique: Callable[[str], str], cli: Cli, request: pytest.FixtureRequest
) -> None:
    """Its log is that of its pods, and so is its end; every answer names the missing right."""
    if target.real:
        pytest.skip("only the sandbox refuses a right for a while")
    kube, space = target.kube, unique("pods")
    sandbox = request.getfixturevalue("sandbox")
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
    define(kube, "lab.example.org", "v1beta1", "Experiment", "experiments")
    experiment = Custom(kube, "lab.example.org/v1beta1", "Experiment", "experiments", "exp", namespace=space)
    sandbox.fault("deny", resource="experiments.lab.example.org", namespace=space)
    for i in range(2):
        create_pod(kube, f"exp-{i}", PRINT.format(f"pod {i}"), experiment.reference, namespace=space)
    right = "the right `get experiments.lab.example.org` would tell more"
    (row,) = json.loads(cli("tasks", "-n", space, "-o", "json"))["tasks"]
    assert row["task"] == f"{space}:experiment.lab.example.org/exp" and right in row["message"]
    expected = sorted(f"pod {i} line {line}" for i in range(2) for line in range(20))
    for i in range(2):
        kube.wait_pod(f"exp-{i}", lambda pod: pod["status"]["phase"] == "Succeeded", namespace=space)
    output = cli("logs", f"{space}:experiment/exp", "--since", "all", "-o", "ndjson")
    assert sorted(json.loads(line)["text"] for line in output.splitlines() if line.startswith("{")) == expected
    with contextlib.closing(open_store(cli.home.env["CORTEX_STORE"])) as store:
        (info,) = store.recordings(space)
        assert right in info.message
    kube.create(python_job("plain", PRINT.format("plain"), namespace=space))
    kube.wait_job("plain", namespace=space)
    sandbox.fault("deny", resource="jobs", namespace=space)
    for task in ("experiment/exp", "job/plain"):
        ended = cli("logs", f"{space}:{task}", "-f", "--since", "all")
        assert "complete exit 0" in ended and "would tell more" in ended
    missing = cli("logs", f"{space}:experiment/other", code=1)
    assert "ask for the right `get experiments.lab.example.org`" in missing
    kube.delete("namespaces", space)


def test_a_row_of_a_user_tells_roles_and_the_end(target: Target, unique: Callable[[str], str], cli: Cli) -> None:
    kube, name = target.kube, unique("exp")
    define(kube, "lab.example.org", "v1beta1", "Experiment", "experiments")
    rows = [
        {
            "name": "experiment.lab.example.org",
            "labels": {"lab.example.org/experiment": "metadata.name"},
            "role": ["lab.example.org/role"],
            "states": [["failed", {"status.stage": "Broken"}]],
            "reason": ["status.why"],
        }
    ]
    cli.home.settings["CORTEX_KINDS"] = json.dumps([rows[0] | {"states": "failed"}])
    assert "row 1 of CORTEX_KINDS (experiment.lab.example.org): `states` must be a list" in cli("tasks", code=2)
    cli.home.settings["CORTEX_KINDS"] = json.dumps(rows)
    experiment = Custom(kube, "lab.example.org/v1beta1", "Experiment", "experiments", name)
    labels = {"lab.example.org/experiment": name, "lab.example.org/role": "ps"}
    create_pod(kube, f"{name}-0", PRINT.format("ps"), experiment.reference, labels)
    kube.wait_pod(f"{name}-0", lambda pod: pod["status"]["phase"] == "Succeeded")
    experiment.set_status(stage="Broken", why="NoDisk")
    output = cli("logs", f"experiment/{name}", "-f", "--since", "all", "-o", "ndjson", code=1)
    assert {json.loads(line)["role"] for line in output.splitlines() if line.startswith("{")} == {"ps"}
    assert "Experiment failed: NoDisk" in output
    experiment.delete()


@pytest.mark.parametrize("kind", ["Job", "JobSet"])
def test_a_task_in_a_queue_of_kueue_says_why(target: Target, unique: Callable[[str], str], cli: Cli, kind: str) -> None:
    kube, name = target.kube, unique("queued")
    define(kube, "kueue.x-k8s.io", "v1beta2", "Workload", "workloads")
    if kind == "Job":
        target.needs(22, "a suspended Job")
        owner = reference(kube.create(python_job(name, PRINT.format("main"), suspend=True)))
    else:
        define(kube, "jobset.x-k8s.io", "v1alpha2", "JobSet", "jobsets")
        job_set = Custom(kube, "jobset.x-k8s.io/v1alpha2", "JobSet", "jobsets", name, suspend=True)
        job_set.set_status(conditions=[condition("Suspended", reason="SuspendedJobs", message="jobset is suspended")])
        owner = job_set.reference
    workload = Custom(kube, "kueue.x-k8s.io/v1beta2", "Workload", "workloads", f"w-{name}", owner, queueName="team")
    no_quota = condition("QuotaReserved", "False", "Pending", "insufficient quota for nvidia.com/gpu, 8 more needed")
    workload.set_status(conditions=[no_quota])
    text = f"Log not available yet: the {kind} waits in the queue team of Kueue: {no_quota['message']}"
    assert text in cli("logs", f"{kind.lower()}/{name}")
    (row,) = [row for row in json.loads(cli("tasks", "-o", "json"))["tasks"] if row["name"] == name]
    assert (row["state"], row["status"], row["message"]) == ("pending", "Suspended", text)
    with contextlib.closing(open_store(cli.home.env["CORTEX_STORE"])) as store:
        kube.wait_for(lambda: text in {info.message for info in store.recordings("default")}, "the recorder's word")
    workload.delete()
    kube.delete("jobs", name) if kind == "Job" else job_set.delete()


def test_an_object_that_may_be_read_but_not_watched_shows_its_end(
    target: Target, unique: Callable[[str], str], cli: Cli, request: pytest.FixtureRequest
) -> None:
    if target.real:
        pytest.skip("only the sandbox refuses a right for a while")
    kube, space = target.kube, unique("get")
    sandbox = request.getfixturevalue("sandbox")
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
    define(kube, "lab.example.org", "v1beta1", "Experiment", "experiments")
    experiment = Custom(kube, "lab.example.org/v1beta1", "Experiment", "experiments", "exp", namespace=space)
    for verb in ("list", "watch"):
        sandbox.fault("deny", verb=verb, resource="experiments.lab.example.org", namespace=space)
    create_pod(kube, "exp-0", PRINT.format("exp"), experiment.reference, namespace=space)
    assert len(cli.texts(f"{space}:experiment/exp")) > 0
    experiment.set_status(conditions=[condition("Failed", reason="NoDisk", message="the disk is full")])
    output = cli("logs", f"{space}:experiment/exp", "-f", "--since", "all", "-o", "ndjson", code=1)
    assert len([line for line in output.splitlines() if line.startswith("{")]) == 20
    assert "Experiment failed: NoDisk: the disk is full" in output
    kube.delete("namespaces", space)


def test_a_right_that_is_granted_meanwhile_tells_the_end(
    target: Target, unique: Callable[[str], str], cli: Cli, request: pytest.FixtureRequest
) -> None:
    if target.real:
        pytest.skip("only the sandbox refuses a right for a while")
    kube, space = target.kube, unique("right")
    sandbox = request.getfixturevalue("sandbox")
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
    define(kube, "lab.example.org", "v1beta1", "Experiment", "experiments")
    experiment = Custom(kube, "lab.example.org/v1beta1", "Experiment", "experiments", "exp", namespace=space)
    sandbox.fault("deny", resource="experiments.lab.example.org", namespace=space)
    hold = f"{PRINT.format('exp')}time.sleep(600)\n"
    create_pod(kube, "exp-0", hold, experiment.reference, namespace=space)
    command = [sys.executable, "-m", "cortex_jupyter.cli", "logs", "-f", f"{space}:experiment/exp", "--since", "all"]
    process = subprocess.Popen(command, env=cli.home.env, stdout=-1, stderr=-1, text=True)
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(20)]
        sandbox.clear()
        experiment.set_status(conditions=[condition("Complete")])
        kube.delete("pods", "exp-0", space)
        _, err = process.communicate(timeout=90)
    finally:
        process.kill()
    assert lines == [f"exp line {i}" for i in range(20)]
    assert process.returncode == 0 and "Experiment complete exit 0" in err, err
    kube.delete("namespaces", space)
