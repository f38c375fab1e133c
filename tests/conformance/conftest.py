"""Pods and Jobs that many tests share; they start together so that their waits overlap."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support.kube import pod_spec, python_container, python_job, python_pod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Target
    from support.kube import Kube

Object = dict[str, Any]

#: Prints for three seconds, then one line of each unusual kind.
TEXT = r"""
import os, sys, time
for i in range(30):
    print('tick %02d' % i)
    time.sleep(0.1)
os.write(1, b'\xff\xfe no text\n')
os.write(1, b'\n')
os.write(1, b'L' * 40000 + b'\n')
time.sleep(0.2)  # the runtime reads the two pipes separately: only time orders their lines
os.write(2, b'to stderr\n')
time.sleep(0.2)
os.write(1, b'after stderr\n')
os.write(1, b'no newline')
"""
CRASH = "import time; print('run', time.time_ns()); raise SystemExit(3)"
#: Writes enough for one kubelet rotation (10 MiB), then a line now and then; more rotations would take too long.
ROTATE = """
import sys, time
for i in range(120000):
    sys.stdout.write('%08d ' % i + 'x' * 90 + chr(10))
sys.stdout.flush()
while True:
    i += 1
    print('%08d later' % i)
    time.sleep(0.2)
"""


def _pod(name: str, spec: Object) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def _two_containers(name: str) -> Object:
    mains = [python_container(n, f"print('from {n}')") for n in ("main", "aside")]
    return _pod(name, pod_spec(mains, inits=[python_container("prepare", "print('prepared')")]))


def _initializing(name: str) -> Object:
    inits = [python_container("prepare", "import time; print('preparing'); time.sleep(600)")]
    return _pod(name, pod_spec([python_container("main", "")], inits=inits))


def _unpullable(name: str) -> Object:
    return _pod(
        name,
        pod_spec([python_container("main", "", image="docker.io/local/missing:1") | {"imagePullPolicy": "Always"}]),
    )


def _no_program(name: str) -> Object:
    return _pod(name, pod_spec([python_container("main", "") | {"command": ["no-such-program"]}]))


MAKERS: dict[str, Callable[[str], Object]] = {
    "rotating": lambda name: python_pod(name, ROTATE),
    "crash": lambda name: python_pod(name, CRASH, restart="Always"),
    "text": lambda name: python_pod(name, TEXT),
    "two": _two_containers,
    "missing": lambda name: python_pod(name, "print('here at last')", image="docker.io/local/missing:1"),
    "pull": _unpullable,
    "unschedulable": lambda name: python_pod(name, "", nodeSelector={"no": "such-node"}),
    "initializing": _initializing,
    "no-program": _no_program,
    "good-job": lambda name: python_job(name, "print('good')", parallelism=2),
    "bad-job": lambda name: python_job(name, "print('bad'); raise SystemExit(3)"),
    "late-job": lambda name: python_job(name, "import time; time.sleep(600)", activeDeadlineSeconds=3),
}


#: Creates an object under a unique name, and returns the name.
Create = Callable[[Object], str]


@dataclass
class Specimens:
    """The shared pods and Jobs, by the name of their maker."""

    kube: Kube
    names: dict[str, str]

    def wait_ended(self, key: str) -> Object:
        """Wait until a pod has ended, and return it."""
        name = self.names[key]
        return self.kube.wait_pod(name, lambda p: p["status"]["phase"] in ("Succeeded", "Failed"), "end")

    def wait_waiting(self, key: str, *reasons: str) -> Object:
        """Wait until container `main` waits for one of these reasons, and return the pod."""

        def test(pod: Object) -> bool:
            states = pod["status"].get("containerStatuses") or []
            return any(s["name"] == "main" and s["state"].get("waiting", {}).get("reason") in reasons for s in states)

        return self.kube.wait_pod(self.names[key], test, f"waiting for {reasons}")


@pytest.fixture(scope="session")
def specimens(target: Target) -> Iterator[Specimens]:
    tag = uuid.uuid4().hex[:6]
    specimens = Specimens(target.kube, {})
    try:
        for key, maker in MAKERS.items():
            specimens.names[key] = f"{key}-{tag}"
            target.kube.create(maker(specimens.names[key]))
        yield specimens
    finally:
        for key, name in specimens.names.items():
            target.kube.delete("jobs" if key.endswith("-job") else "pods", name)


@pytest.fixture
def create(target: Target) -> Iterator[Create]:
    """Return a function that creates an object under a unique name; the objects are deleted after the test."""
    objects: list[tuple[str, str]] = []

    def create_object(manifest: Object) -> str:
        name = manifest["metadata"]["name"] = f"{manifest['metadata']['name']}-{uuid.uuid4().hex[:6]}"
        objects.append((manifest["kind"].lower() + "s", name))
        target.kube.create(manifest)
        return name

    yield create_object
    for plural, name in objects:
        target.kube.delete(plural, name)
