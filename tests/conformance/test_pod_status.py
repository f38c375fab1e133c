"""Our status of a pod equals the row of `kubectl get pods`, which the server computes from the same object."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from support.kube import pod_spec, python_container, python_pod

from cortex_jupyter.cluster.pods import status_of

if TYPE_CHECKING:
    from conformance.conftest import Create, Specimens
    from conftest import Target


#: The header of `kubectl get`: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
CRASH = "raise SystemExit(3)"
SLEEP = "import time; time.sleep(600)"


def two_containers(name: str, first: str, second: str, restart: str) -> dict[str, Any]:
    spec = pod_spec([python_container("first", first), python_container("second", second)], restart=restart)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def test_status_ready_and_restarts_match_kubectl_get_pods(target: Target, specimens: Specimens, create: Create) -> None:
    specimens.wait_waiting("crash", "CrashLoopBackOff")
    for restart in ("Never", "Always"):
        create(two_containers("crash-beside", SLEEP, CRASH, restart))
        create(two_containers("done-beside", "", SLEEP, restart))
    inits = [python_container("prepare", CRASH)]
    create(python_pod("init-crash", "", initContainers=inits))
    create(python_pod("init-loop", "", restart="Always", initContainers=inits))
    statuses: set[str] = set()

    def rows_agree() -> bool:
        answer = target.kube.request(
            "GET", target.kube.path("pods"), headers=TABLE, params={"includeObject": "Object"}
        ).json()
        names = [column["name"] for column in answer["columnDefinitions"]]
        for row in answer["rows"]:
            cells = dict(zip(names, row["cells"], strict=True))
            ours = status_of(row["object"])
            restarts = str(cells["Restarts"]).split(" ")[0]  # since 1.22 with `(2m ago)`
            assert (f"{ours.ready}/{ours.total}", ours.word, str(ours.restarts)) == (
                cells["Ready"],
                cells["Status"],
                restarts,
            ), row["object"]
            statuses.add(ours.word)
        expected = {"CrashLoopBackOff", "Init:CrashLoopBackOff", "Init:Error", "Error", "StartError", "Pending"}
        return expected <= statuses

    end = time.monotonic() + 120
    while not rows_agree():
        assert time.monotonic() < end, f"statuses so far: {statuses}"
        time.sleep(0.2)
