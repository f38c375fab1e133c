"""Access checks agree with Kubernetes' own RBAC, also after a namespace was deleted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import yaml
from support.hand import Hand
from support.kube import python_job

from cortex_jupyter.cluster.access import Access, Person
from cortex_jupyter.cluster.session import Cluster
from cortex_jupyter.errors import NotAllowed, TaskNotFound
from cortex_jupyter.model import TaskRef, parse_rfc3339
from cortex_jupyter.reader import session
from cortex_jupyter.reader.session import Session
from cortex_jupyter.store import Commit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Target

    from cortex_jupyter.store import Store

_RBAC = "/apis/rbac.authorization.k8s.io/v1"
READ_LOGS = {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}
READ_ONE_JOB = {"apiGroups": ["batch"], "resources": ["jobs"], "resourceNames": ["mine"], "verbs": ["get"]}


@pytest.fixture
def namespace(target: Target, unique: Callable[[str], str]) -> Iterator[str]:
    """Return a namespace where alice and the group vision may read logs and one Job; carol may read logs everywhere."""
    name, kube = unique("rights"), target.kube

    def bind(kind: str, subject: str, scope_path: str, role: str) -> None:
        subjects = [{"kind": kind, "name": subject, "apiGroup": "rbac.authorization.k8s.io"}]
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": name}
        body = {"metadata": {"name": f"{name}-{subject}"}, "subjects": subjects, "roleRef": ref}
        assert kube.request("POST", f"{_RBAC}{scope_path}/{role.lower()}bindings", json=body).status_code == 201

    assert kube.request("POST", "/api/v1/namespaces", json={"metadata": {"name": name}}).status_code == 201
    scope = f"/namespaces/{name}"
    for path, rules in ((f"{scope}/roles", [READ_LOGS, READ_ONE_JOB]), ("/clusterroles", [READ_LOGS])):
        body = {"metadata": {"name": name}, "rules": rules}
        assert kube.request("POST", _RBAC + path, json=body).status_code == 201
    bind("User", "alice", scope, "Role")
    bind("Group", "vision", scope, "Role")
    bind("User", "carol", "", "ClusterRole")
    yield name
    for path in (f"/clusterroles/{name}", f"/clusterrolebindings/{name}-carol"):
        kube.request("DELETE", _RBAC + path)
    kube.request("DELETE", f"/api/v1/namespaces/{name}")


async def is_allowed(cluster: Cluster, namespace: str, person: Person | None) -> bool:
    try:
        await Access().check_namespace(cluster, namespace, person)
    except NotAllowed:
        return False
    return True


@pytest.mark.cluster
async def test_access_agrees_with_rbac(target: Target, namespace: str) -> None:
    async with await Cluster.open(str(target.kube.kubeconfig)) as cluster:
        people = {
            "us": None,
            "alice": Person("alice"),
            "bob": Person("bob"),
            "carol": Person("carol"),
            "dave of vision": Person("dave", ("vision",)),
        }
        access_by_person = {name: await is_allowed(cluster, namespace, person) for name, person in people.items()}
        assert access_by_person == {"us": True, "alice": True, "bob": False, "carol": True, "dave of vision": True}
        access = Access(each=True)
        for name, expected in (("mine", True), ("theirs", False)):
            assert await access.may_read_task(cluster, TaskRef(namespace, "job", name), Person("alice")) is expected
        # A deleted namespace has no RoleBindings left: only a user with access to the whole cluster may read it.
        path = f"/api/v1/namespaces/{namespace}"
        target.kube.request("DELETE", path)
        target.kube.wait_for(lambda: target.kube.request("GET", path).status_code == 404, "the namespace to go")
        access_by_person = {name: await is_allowed(cluster, namespace, person) for name, person in people.items()}
        assert access_by_person == {"us": True, "alice": False, "bob": False, "carol": True, "dave of vision": False}


@pytest.mark.cluster
async def test_a_new_namespace_of_the_same_name_gives_no_access_to_old_logs(
    target: Target, namespace: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alice may read in the new namespace; only Carol, who may read everywhere, may read the old log."""
    monkeypatch.setattr(session, "ensure_recorder", lambda *_: None)
    kube, path = target.kube, f"/api/v1/namespaces/{namespace}"
    role = kube.request("GET", f"{_RBAC}/namespaces/{namespace}/roles/{namespace}").json()
    binding = kube.request("GET", f"{_RBAC}/namespaces/{namespace}/rolebindings/{namespace}-alice").json()
    kube.create(python_job("old", "print('x')", namespace=namespace))
    async with await Cluster.open(str(kube.kubeconfig)) as cluster:
        recordings = Session(store, cluster, access=Access())
        job = await recordings.resolve(TaskRef(namespace, "job", "old"))
        old = Hand(store, job.ref, job.uid, cluster=cluster.id)
        old.lines([(time.time_ns(), 1, "a secret")])
        old.end()
        store.commit(old.lease, Commit(update={"started": job.started}))
        assert (await recordings.find(job.ref, Person("alice"))).id == old.id
        kube.request("DELETE", path)
        kube.wait_for(lambda: kube.request("GET", path).status_code == 404, "the namespace to go")
        assert kube.request("POST", "/api/v1/namespaces", json={"metadata": {"name": namespace}}).status_code == 201
        for plural, body in (("roles", role), ("rolebindings", binding)):
            meta = {"name": body["metadata"]["name"]}
            created = kube.request("POST", f"{_RBAC}/namespaces/{namespace}/{plural}", json=body | {"metadata": meta})
            assert created.status_code == 201
        recordings = Session(store, cluster, access=Access())  # with no cached access reviews
        with pytest.raises(TaskNotFound) as caught:
            await recordings.find(job.ref, Person("alice"))
        with pytest.raises(TaskNotFound) as never:
            await recordings.find(TaskRef(namespace, "job", "never-was"), Person("alice"))
        assert str(caught.value) == str(never.value).replace("never-was", "old")
        assert await recordings.readable_recordings(namespace, Person("alice")) == []
        assert [info.id for info in await recordings.readable_recordings(namespace, Person("carol"))] == [old.id]
        assert (await recordings.find(job.ref, Person("carol"))).id == old.id
        # Alice's rights in the namespace are enough to learn when it was created.
        kube.create(python_job("new", "print('x')", namespace=namespace))
        new = await recordings.find(TaskRef(namespace, "job", "new"), Person("alice"))
        assert new.workload is not None


@pytest.mark.cluster
async def test_the_role_view_may_read_when_its_namespace_was_created(
    target: Target, namespace: str, tmp_path: Path
) -> None:
    """Without any role, the creation time is unknown (0)."""
    kube, scope = target.kube, f"/namespaces/{namespace}"
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    for account in ("viewer", "nobody"):
        response = kube.request("POST", f"/api/v1{scope}/serviceaccounts", json={"metadata": {"name": account}})
        assert response.status_code == 201
    subjects = [{"kind": "ServiceAccount", "name": "viewer", "namespace": namespace}]
    body = {"metadata": {"name": "viewer"}, "subjects": subjects, "roleRef": ref}
    assert kube.request("POST", f"{_RBAC}{scope}/rolebindings", json=body).status_code == 201
    created = kube.get("namespaces", namespace)["metadata"]["creationTimestamp"]
    for account, expected in (("viewer", parse_rfc3339(created)), ("nobody", 0)):
        request = {"spec": {"expirationSeconds": 600}}
        token = kube.request("POST", f"/api/v1{scope}/serviceaccounts/{account}/token", json=request).json()["status"][
            "token"
        ]
        config = yaml.safe_load(kube.kubeconfig.read_text())
        for user in config["users"]:
            user["user"] = {"token": token}
        (tmp_path / account).write_text(yaml.safe_dump(config))
        async with await Cluster.open(str(tmp_path / account)) as cluster:
            assert await Access().namespace_created(cluster, namespace) == expected
