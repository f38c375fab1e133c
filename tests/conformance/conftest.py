"""Pods that many cases look at, all started at once so that their waits overlap."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from support.kube import pod_spec, python_container, python_job, python_pod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.kube import Kube

Object = dict[str, Any]

#: Half a minute of a program's life in three seconds, with everything a line can be.
TEXT = r"""
import os, sys, time
for i in range(30):
    print('tick %02d' % i)
    time.sleep(0.1)
os.write(1, b'\xff\xfe no text\n')
os.write(1, b'\n')
os.write(1, b'L' * 40000 + b'\n')
time.sleep(0.2)  # the two pipes are read by two readers: only time orders them
os.write(2, b'to stderr\n')
time.sleep(0.2)
os.write(1, b'after stderr\n')
os.write(1, b'no newline')
"""
CRASH = "import time; print('run', time.time_ns()); raise SystemExit(3)"
#: More than two kubelet rotations of 10 MiB would take too long; one is enough, then a line now and then.
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


def _raw(name: str, spec: Object) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def _two(name: str) -> Object:
    mains = [python_container(n, f"print('from {n}')") for n in ("main", "aside")]
    return _raw(name, pod_spec(mains, inits=[python_container("prepare", "print('prepared')")]))


def _initializing(name: str) -> Object:
    inits = [python_container("prepare", "import time; print('preparing'); time.sleep(600)")]
    return _raw(name, pod_spec([python_container("main", "")], inits=inits))


def _pull(name: str) -> Object:
    return _raw(
        name,
        pod_spec([python_container("main", "", image="docker.io/local/missing:1") | {"imagePullPolicy": "Always"}]),
    )


def _no_program(name: str) -> Object:
    return _raw(name, pod_spec([python_container("main", "") | {"command": ["no-such-program"]}]))


MAKERS: dict[str, Callable[[str], Object]] = {
    "rotating": lambda name: python_pod(name, ROTATE),
    "crash": lambda name: python_pod(name, CRASH, restart="Always"),
    "text": lambda name: python_pod(name, TEXT),
    "two": _two,
    "missing": lambda name: python_pod(name, "print('here at last')", image="docker.io/local/missing:1"),
    "pull": _pull,
    "unschedulable": lambda name: python_pod(name, "", nodeSelector={"no": "such-node"}),
    "initializing": _initializing,
    "no-program": _no_program,
    "good-job": lambda name: python_job(name, "print('good')", parallelism=2),
    "bad-job": lambda name: python_job(name, "print('bad'); raise SystemExit(3)"),
    "late-job": lambda name: python_job(name, "import time; time.sleep(600)", activeDeadlineSeconds=3),
}


@dataclass
class Specimens:
    """The shared pods and Jobs by what they show."""

    kube: Kube
    names: dict[str, str]

    def done(self, which: str) -> Object:
        """Wait until a pod has ended, and give it."""
        name = self.names[which]
        return self.kube.wait_pod(name, lambda p: p["status"]["phase"] in ("Succeeded", "Failed"), "end")

    def waiting(self, which: str, *reasons: str) -> Object:
        """Wait until container `main` waits for one of these reasons, and give the pod."""

        def test(pod: Object) -> bool:
            states = pod["status"].get("containerStatuses") or []
            return any(s["name"] == "main" and s["state"].get("waiting", {}).get("reason") in reasons for s in states)

        return self.kube.wait_pod(self.names[which], test, f"waiting for {reasons}")


@pytest.fixture(scope="session")
def specimens(target: Any) -> Iterator[Specimens]:
    tag = uuid.uuid4().hex[:6]
    found = Specimens(target.kube, {})
    try:
        for which, maker in MAKERS.items():
            found.names[which] = f"{which}-{tag}"
            target.kube.create(maker(found.names[which]))
        yield found
    finally:
        for which, name in found.names.items():
            target.kube.delete("jobs" if which.endswith("-job") else "pods", name)


@pytest.fixture
def made(target: Any) -> Iterator[Callable[[Object], str]]:
    """Create objects of a test's own under names of their own, and delete them after it."""
    kept: list[tuple[str, str]] = []

    def create(manifest: Object) -> str:
        name = manifest["metadata"]["name"] = f"{manifest['metadata']['name']}-{uuid.uuid4().hex[:6]}"
        kept.append((manifest["kind"].lower() + "s", name))
        target.kube.create(manifest)
        return name

    yield create
    for plural, name in kept:
        target.kube.delete(plural, name)
