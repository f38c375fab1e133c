"""What we say of pods is what `kubectl get pods` shows: the server's own table, of the same objects."""

from __future__ import annotations

import time
from typing import Any

from support.kube import pod_spec, python_container, python_pod

from cortex_jupyter.cluster.pods import status_of

#: What `kubectl get` asks for: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
CRASH = "raise SystemExit(3)"
SLEEP = "import time; time.sleep(600)"


def two_containers(name: str, first: str, second: str, restart: str) -> dict[str, Any]:
    spec = pod_spec([python_container("first", first), python_container("second", second)], restart=restart)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def test_status_ready_and_restarts_are_those_of_kubectl_get_pods(target: Any, specimens: Any, made: Any) -> None:
    specimens.waiting("crash", "CrashLoopBackOff")
    for restart in ("Never", "Always"):
        made(two_containers("crash-beside", SLEEP, CRASH, restart))
        made(two_containers("done-beside", "", SLEEP, restart))
    inits = [python_container("prepare", CRASH)]
    made(python_pod("init-crash", "", initContainers=inits))
    made(python_pod("init-loop", "", restart="Always", initContainers=inits))
    seen: set[str] = set()

    def look() -> bool:
        answer = target.kube.request(
            "GET", target.kube.path("pods"), headers=TABLE, params={"includeObject": "Object"}
        ).json()
        names = [column["name"] for column in answer["columnDefinitions"]]
        for row in answer["rows"]:
            shown = dict(zip(names, row["cells"], strict=True))
            ours = status_of(row["object"])
            restarts = str(shown["Restarts"]).split(" ")[0]  # since 1.22 with `(2m ago)`
            assert (f"{ours.ready}/{ours.total}", ours.word, str(ours.restarts)) == (
                shown["Ready"], shown["Status"], restarts,
            ), row["object"]  # fmt: skip
            seen.add(ours.word)
        wanted = {"CrashLoopBackOff", "Init:CrashLoopBackOff", "Init:Error", "Error", "StartError", "Pending"}
        return wanted <= seen

    end = time.monotonic() + 120
    while not look():
        assert time.monotonic() < end, f"seen so far: {seen}"
        time.sleep(0.2)
