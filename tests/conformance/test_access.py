"""Whose rights count is what Kubernetes' own RBAC says, also when a namespace has gone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cortex_jupyter.cluster.access import Access, Person
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.errors import NotAllowed
from cortex_jupyter.records import TaskRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RBAC = "/apis/rbac.authorization.k8s.io/v1"
READ = {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}
ONE = {"apiGroups": ["batch"], "resources": ["jobs"], "resourceNames": ["mine"], "verbs": ["get"]}


@pytest.fixture
def namespace(target: Any, unique: Callable[[str], str]) -> Iterator[str]:
    """One where user alice and the group vision may read logs, and one Job; carol may in the whole cluster."""
    name, kube = unique("rights"), target.kube

    def bind(kind: str, subject: str, where: str, role: str) -> None:
        subjects = [{"kind": kind, "name": subject, "apiGroup": "rbac.authorization.k8s.io"}]
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name}
        body = {"metadata": {"name": f"{name}-{subject}"}, "subjects": subjects, "roleRef": ref}
        assert kube.request("POST", f"{_RBAC}{where}/{role.lower()}bindings", json=body).status_code == 201

    assert kube.request("POST", "/api/v1/namespaces", json={"metadata": {"name": name}}).status_code == 201
    inside = f"/namespaces/{name}"
    for path, rules in ((f"{inside}/roles", [READ, ONE]), ("/clusterroles", [READ])):
        body = {"metadata": {"name": name}, "rules": rules}
        assert kube.request("POST", _RBAC + path, json=body).status_code == 201
    bind("User", "alice", inside, "Role")
    bind("Group", "vision", inside, "Role")
    bind("User", "carol", "", "ClusterRole")
    yield name
    for path in (f"/clusterroles/{name}", f"/clusterrolebindings/{name}-carol"):
        kube.request("DELETE", _RBAC + path)
    kube.request("DELETE", f"/api/v1/namespaces/{name}")


async def allowed(cluster: Cluster, namespace: str, person: Person | None) -> bool:
    try:
        await Access().namespace(cluster, namespace, person)
    except NotAllowed:
        return False
    return True


@pytest.mark.cluster
async def test_rights_are_those_of_rbac(target: Any, namespace: str) -> None:
    async with await Cluster.open(str(target.kube.kubeconfig)) as cluster:
        people = {
            "us": None, "alice": Person("alice"), "bob": Person("bob"), "carol": Person("carol"),
            "dave of vision": Person("dave", ("vision",)),
        }  # fmt: skip
        found = {name: await allowed(cluster, namespace, person) for name, person in people.items()}
        assert found == {"us": True, "alice": True, "bob": False, "carol": True, "dave of vision": True}
        access = Access(each=True)
        for name, mine in (("mine", True), ("theirs", False)):
            assert await access.task(cluster, TaskRef(namespace, "job", name), Person("alice")) is mine
        # What has gone keeps no RoleBindings: only who may read everywhere may read it.
        path = f"/api/v1/namespaces/{namespace}"
        target.kube.request("DELETE", path)
        target.kube.wait_for(lambda: target.kube.request("GET", path).status_code == 404, "the namespace to go")
        found = {name: await allowed(cluster, namespace, person) for name, person in people.items()}
        assert found == {"us": True, "alice": False, "bob": False, "carol": True, "dave of vision": False}
