"""The sandbox's objects have exactly the fields of a real API server's objects.

`objects_1_20.json` lists the fields of a Job, its pod and their events on a real 1.20 cluster. The tables here list the
changes since then, with their sources in Kubernetes.
"""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.kube import python_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Target

Object = dict[str, Any]

FIELDS_OF_1_20 = Path(__file__).with_name("objects_1_20.json")
_POD = "import time; time.sleep(1)"

#: Fields that newer API servers add: a regular expression, and the minor version that added them.
NEWER = {
    # KEP-1205: a projected token instead of a secret, 1.22
    r"pod\.spec\.volumes\.projected.*": 22,
    # `subresource` of managedFields: apimachinery `ManagedFieldsEntry`, 1.22
    r"\w+\.metadata\.managedFields\.subresource": 22,
    # Job: completionMode and suspend, 1.24; generation, 1.21
    r"job\.metadata\.generation": 21,
    r"job\.spec\.(completionMode|suspend|podReplacementPolicy)": 24,
    r"job\.status\.(ready|uncountedTerminatedPods|terminating)": 24,
    r"job\.status\.conditions\.(reason|message)": 31,
    r"(job|pod)\S*\.labels\..*": 27,
    r"pod\.metadata\.generation": 33,  # KEP-5067
    # KEP-2681 `hostIPs`, 1.30
    r"pod\.status\.hostIPs.*": 30,
    r"pod\.status\.(conditions\.)?observedGeneration": 34,  # KEP-5067
    r"pod\.status\.\w+Statuses\.(resources|allocatedResources|user)(\..*)?": 33,  # KEP-1287, KEP-3619
    r"pod\.status\.\w+Statuses\.volumeMounts(\..*)?": 31,  # KEP-3857
    # KEP-753: init containers have `started`, 1.29
    r"pod\.status\.initContainerStatuses\.started": 29,
}
#: Fields that newer API servers no longer have, with the minor version that removed them.
OLDER = {
    r"job\.spec\.template\.metadata\.creationTimestamp": 34,  # null before kubernetes#130989
    r".*fieldRef\.\w+": 21,  # `ObjectFieldSelector` is `+structType=atomic` since
    r"pod\.spec\.volumes\.secret.*": 22,
}


def fields(value: Any, path: str) -> Iterator[str]:
    """Yield the paths of all fields; labels, annotations and `fieldsV1` count as one field each."""
    if isinstance(value, list):
        for item in value:
            yield from fields(item, path)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}.{name}"
            if name not in ("labels", "annotations", "fieldsV1", "matchLabels"):
                yield from fields(inner, f"{path}.{name}")


def managed_paths(obj: Object) -> set[str]:
    """Return the paths of the fields that have a manager, without the keys of list items."""

    def walk(tree: Object, path: str) -> Iterator[str]:
        for name, inner in tree.items():
            field_path = path if name.startswith("k:") or name == "." else f"{path}.{name.removeprefix('f:')}"
            yield field_path
            yield from walk(inner, field_path)

    return {path for entry in obj["metadata"]["managedFields"] for path in walk(entry["fieldsV1"], "")}


@pytest.fixture(scope="module")
def objects(target: Target) -> Iterator[dict[str, Object]]:
    """Run a Job; return it with its pod and the events of scheduler and kubelet."""
    name = f"fields-{uuid.uuid4().hex[:6]}"
    job = python_job(name, _POD, init="pass")
    main = job["spec"]["template"]["spec"]["containers"][0]
    main["env"] = [
        {"name": "A", "value": "b"},
        {"name": "P", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    main["resources"] = {"limits": {"memory": "64Mi"}}
    target.kube.create(job)
    finished_job = target.kube.wait_job(name)
    (pod,) = target.kube.pods_of(name)
    events = {}

    def has_events() -> bool:
        for event in target.kube.list("events", fieldSelector=f"involvedObject.uid={pod['metadata']['uid']}")["items"]:
            events[event["reason"]] = event
        return {"Scheduled", "Started"} <= set(events)

    target.kube.wait_for(has_events, "the events")
    yield {"job": finished_job, "pod": pod, "scheduled": events["Scheduled"], "started": events["Started"]}
    target.kube.delete("jobs", name)


def _paths(objects: dict[str, Object]) -> dict[str, list[str]]:
    return {
        kind: sorted(set(fields({k: v for k, v in obj.items() if k not in ("kind", "apiVersion")}, kind)))
        for kind, obj in objects.items()
    } | {
        f"{kind} managed": sorted(f"{kind} managed{path}" for path in managed_paths(objects[kind]))
        for kind in ("job", "pod")
    }


def _without(paths: set[str], rules: dict[str, int], minor: int) -> set[str]:
    return {
        p
        for p in paths
        if not any(minor >= since and re.fullmatch(rule, p.replace(" managed", "")) for rule, since in rules.items())
    }


def test_objects_have_the_fields_of_a_real_cluster(target: Target, objects: dict[str, Object]) -> None:
    actual_paths = _paths(objects)
    if target.real and target.minor == 20 and not FIELDS_OF_1_20.exists():
        FIELDS_OF_1_20.write_text(json.dumps(actual_paths, indent=1) + "\n")
    paths_of_1_20 = json.loads(FIELDS_OF_1_20.read_text())
    missing, unexpected = {}, {}
    for kind, paths in paths_of_1_20.items():
        if lacking := _without(set(paths) - set(actual_paths[kind]), OLDER, target.minor):
            missing[kind] = sorted(lacking)
        if additional := _without(set(actual_paths[kind]) - set(paths), NEWER, target.minor):
            unexpected[kind] = sorted(additional)
    assert not missing and not unexpected, json.dumps({"missing": missing, "unexpected": unexpected}, indent=1)
