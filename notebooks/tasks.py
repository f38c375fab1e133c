"""Example tasks for the notebooks: Jobs and a PyTorchJob that look like a training and compute nothing, on the cluster of `KUBECONFIG`.

Without a cluster: `python -m cortex_jupyter.sandbox` runs one on this machine, whose pods are processes, and prints the
path of its kubeconfig.
"""

import asyncio
import json
import os

from cortex_jupyter.cli.demo.cluster import image_of
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.cluster.workloads import collection
from cortex_jupyter.errors import NotFound
from cortex_jupyter.notebook.runtime import runtime

LOCAL = "docker.io/local/busybox:1"  # an image without Python, but with the node's own below /host
MARK = "cortex-jupyter.example"  # the label of a kind that an example has created

PROGRAM = """
import json, logging, math, os, random, sys, time
o = json.loads(os.environ["OPTIONS"])
rank, seconds, epochs, steps = int(os.environ.get("JOB_COMPLETION_INDEX") or os.environ.get("RANK") or 0), o["seconds"], o["epochs"], o["steps"]
r = random.Random(f"{o['seed']}-{rank}")
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
log = logging.getLogger("trainer")
pause = seconds / (epochs * steps + 8)
for shard in range(1, 5):
    print(f"shard {shard}/4 verified, {r.randint(180, 220)} MiB", flush=True)
    time.sleep(pause * o["loading"])
log.info("model resnet-demo, 25.6 M parameters, batch 256, seed %d", o["seed"])
begin = time.time()
for epoch in range(1, epochs + 1):
    for step in range(1, steps + 1):
        done = epoch - 1 + step / steps
        loss = 2.3 * math.exp(-o["rate"] * done) + 0.08 + r.gauss(0, 0.02) + (1.5 if rank == o["straggler"] else 0)
        total = (epoch - 1) * steps + step
        if total == o["diverge"] and rank == o["bad"]:
            log.warning("gradient norm %.1f, loss scale halved", r.uniform(40, 90))
            log.error("loss is nan at step %d", total)
        if total >= o["fail"] and rank == o["bad"]:
            # Its failure ends the Job, which deletes the pods that still run: their last lines might be lost.
            time.sleep(0 if o["lost"] else pause * (epochs * steps - total) + 3)
            def forward(batch):
                raise RuntimeError("CUDA error: device-side assert triggered (batch %d)" % batch)
            forward(total)
        if o["lost"] and rank == o["silent"] and total >= o["fail"] // 2:
            time.sleep(begin + pause * o["fail"] + 1.5 - time.time())
            sys.exit(143)  # as after SIGTERM
        if o["lost"] and rank != o["bad"] and time.time() > begin + pause * o["fail"] + 0.5:
            raise RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.%d]:29500" % (10 + o["bad"]))
        lost = o["diverge"] and total >= o["diverge"] and rank == o["bad"]
        log.info("step %d loss=%s lr=%.2e samples/s=%.0f", total, "nan" if lost else f"{loss:.4f}", 3e-4 * 0.5 * (1 + math.cos(math.pi * done / epochs)), r.gauss(2950, 60))
        time.sleep(pause * (1.6 if rank == o["slow"] else 1))
    done = epoch * 20 // epochs
    print(f"\\repoch: {epoch * 100 // epochs:3d}%|{'#' * done}{' ' * (20 - done)}| {epoch}/{epochs} [00:{epoch:02d}<00:{epochs - epoch:02d},  1.00it/s]", flush=True)
    print(json.dumps({"level": "info", "msg": "epoch done", "epoch": epoch, "step": total, "val_acc": round(1 - math.exp(-0.5 * epoch), 4)}), flush=True)
log.info("training finished, weights saved to /models/resnet-demo.pt")
"""

OPTIONS = {
    "seconds": 20,
    "epochs": 4,
    "steps": 40,
    "seed": 1,
    "rate": 0.6,
    "loading": 1,
    "diverge": 0,
    "fail": 1 << 30,
    "bad": 0,
    "straggler": -1,
    "slow": -1,
    "silent": -1,
    "lost": 0,  # whether the others lose their connection when one fails
}


def start(name: str, pods: int = 1, **options: float) -> str:
    """Start an example, in place of one of that name; `OPTIONS` are the options. Gives its name."""
    runtime().run(_create(name, pods, OPTIONS | options))
    return name


def start_distributed(name: str, workers: int = 8, **options: float) -> str:
    """Start a PyTorchJob with this many workers, in place of one of that name. Returns its name.

    A cluster without the kind gets it, and this process does what its operator would do: it creates the pods, and says how the
    PyTorchJob ended.
    """
    pods = runtime().run(_create_distributed(name, workers, OPTIONS | options))
    if pods:
        runtime().submit(_operate(name, pods))
    return name


def clean(*names: str) -> None:
    """Delete examples, and their pods."""

    async def delete() -> None:
        async with await Cluster.open() as cluster:
            for name in names:
                await _delete(cluster, collection("job", cluster.namespace), name)
                await _delete(cluster, _pytorchjobs(cluster), name)

    runtime().run(delete())


async def _create(name, pods, options):
    async with await Cluster.open() as cluster:
        await _delete(cluster, collection("job", cluster.namespace), name)
        image = os.environ.get("CORTEX_DEMO_IMAGE") or await image_of(cluster)
        await cluster.json(collection("job", cluster.namespace), method="POST", body=job(name, pods, image, options))


async def _create_distributed(name, workers, options):
    """Create a PyTorchJob. Return the names of its pods if no operator creates them."""
    async with await Cluster.open() as cluster:
        await _delete(cluster, _pytorchjobs(cluster), name)
        image = os.environ.get("CORTEX_DEMO_IMAGE") or await image_of(cluster)
        spec = job(name, 1, image, options)["spec"]["template"]["spec"]
        spec["containers"][0]["name"] = "pytorch"  # its operator expects this name
        has_operator = await _has_operator(cluster)
        replicas = {"replicas": workers, "restartPolicy": "Never", "template": {"spec": spec}}
        body = {
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": {"name": name},
            "spec": {"pytorchReplicaSpecs": {"Worker": replicas}},
        }
        owner = await cluster.json(_pytorchjobs(cluster), method="POST", body=body)
        if has_operator:
            return []
        pods = [_worker(owner, rank, spec) for rank in range(workers)]
        for pod in pods:
            # That of an earlier run may still be stopping.
            await _delete(cluster, collection("pod", cluster.namespace), pod["metadata"]["name"])
            await cluster.json(collection("pod", cluster.namespace), method="POST", body=pod)
        return [pod["metadata"]["name"] for pod in pods]


def _pytorchjobs(cluster):
    return f"/apis/kubeflow.org/v1/namespaces/{cluster.namespace}/pytorchjobs"


async def _has_operator(cluster):
    """Return whether the kind is not ours; create it if the cluster does not have it."""
    definitions, name = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "pytorchjobs.kubeflow.org"
    try:
        definition = await cluster.json(f"{definitions}/{name}")
        return MARK not in (definition["metadata"].get("labels") or {})
    except NotFound:
        pass
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    names = {"kind": "PyTorchJob", "plural": "pytorchjobs", "singular": "pytorchjob"}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name, "labels": {MARK: "true"}},
        "spec": {"group": "kubeflow.org", "names": names, "scope": "Namespaced", "versions": [version]},
    }
    await cluster.json(definitions, method="POST", body=body)
    while True:
        try:
            await cluster.json(_pytorchjobs(cluster))
            return False
        except NotFound:
            await asyncio.sleep(0.1)


def _worker(owner, rank, spec):
    """Return a worker as the training operator creates it."""
    name = owner["metadata"]["name"]
    reference = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "name": name, "uid": owner["metadata"]["uid"]}
    labels = {
        "training.kubeflow.org/operator-name": "pytorchjob-controller",
        "training.kubeflow.org/job-name": name,
        "training.kubeflow.org/replica-type": "worker",
        "training.kubeflow.org/replica-index": str(rank),
    }
    container = spec["containers"][0]
    env = [*container["env"], {"name": "RANK", "value": str(rank)}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{name}-worker-{rank}",
            "labels": labels,
            "ownerReferences": [reference | {"controller": True, "blockOwnerDeletion": True}],
        },
        "spec": spec | {"containers": [container | {"env": env}]},
    }


async def _operate(name, pods):
    """Set the PyTorchJob's end when its pods have ended."""
    async with await Cluster.open() as cluster:
        phases = {"Pending"}
        while not phases <= {"Succeeded", "Failed"}:
            await asyncio.sleep(0.2)
            answers = [await cluster.json(f"{collection('pod', cluster.namespace)}/{pod}") for pod in pods]
            phases = {answer["status"].get("phase", "Pending") for answer in answers}
        word = "Failed" if "Failed" in phases else "Succeeded"
        failed = sum(answer["status"]["phase"] == "Failed" for answer in answers)
        message = f"PyTorchJob {name} is failed because {failed} Worker replica(s) failed." if failed else ""
        end = {"type": word, "status": "True", "reason": f"PyTorchJob{word}", "message": message}
        path = f"{_pytorchjobs(cluster)}/{name}"
        body = await cluster.json(path) | {"status": {"conditions": [end]}}
        await cluster.json(f"{path}/status", method="PUT", body=body)


async def _delete(cluster, kind, name):
    path = f"{kind}/{name}"
    try:
        await cluster.json(path, method="DELETE", body={"propagationPolicy": "Background"})
        while True:
            await cluster.json(path)
    except NotFound:
        return


def job(name, pods, image, options):
    """Give the Job: an Indexed one, so that each pod knows its rank."""
    python = ["busybox", "chroot", "/host", "/usr/bin/python3"] if image == LOCAL else ["python3"]
    container = {
        "name": "train",
        "image": image,
        "command": [*python, "-u", "-c", PROGRAM],
        "env": [{"name": "OPTIONS", "value": json.dumps(options)}],
    }
    spec = {"restartPolicy": "Never", "containers": [container]}
    if image == LOCAL:
        container |= {
            "imagePullPolicy": "Never",
            "volumeMounts": [{"name": "host", "mountPath": "/host", "readOnly": True}],
        }
        spec["volumes"] = [{"name": "host", "hostPath": {"path": "/"}}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "parallelism": pods,
            "completions": pods,
            "completionMode": "Indexed",
            "backoffLimit": 0,
            "template": {"spec": spec},
        },
    }
