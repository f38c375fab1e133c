"""A user of the cluster without some of the rights that reading logs needs; a test can grant or deny them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Target

_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_READ = ["get", "list", "watch"]
#: The rights that reading logs needs, by resource.
_RULES = {
    "pods": ("", _READ),
    "pods/log": ("", ["get"]),
    "events": ("", _READ),
    "jobs": ("batch", _READ),
    "cronjobs": ("batch", _READ),
    "deployments": ("apps", _READ),
    "replicasets": ("apps", _READ),
    "statefulsets": ("apps", _READ),
    "daemonsets": ("apps", _READ),
}


@dataclass
class Limited:
    """A user with some rights denied.

    Attributes
    ----------
    kubeconfig : Path
        Kubeconfig with the user's token and the test's namespace.
    denied : set of str
        Resources that the user may not read, as RBAC names them.
    """

    target: Target
    namespace: str
    kubeconfig: Path
    denied: set[str] = field(default_factory=set)

    def deny(self, *resources: str) -> None:
        """Deny exactly these resources, and grant all others."""
        self.denied = set(resources)
        kube = self.target.kube
        if self.target.real:
            rules = [
                {"apiGroups": [group], "resources": [name], "verbs": verbs}
                for name, (group, verbs) in _RULES.items()
                if name not in self.denied
            ]
            body = {"metadata": {"name": "reader"}, "rules": rules}
            path = f"{_RBAC}/namespaces/{self.namespace}/roles/reader"
            kube.request("PUT", path, json=body).raise_for_status()
            return
        for fault in kube.request("GET", "/sandbox/faults").json()["faults"]:
            if fault["kind"] == "deny" and fault.get("user") == self.namespace:
                kube.request("DELETE", f"/sandbox/faults/{fault['id']}").raise_for_status()
        for name in self.denied:
            deny = {"kind": "deny", "verb": "*", "resource": name, "namespace": self.namespace, "user": self.namespace}
            kube.request("POST", "/sandbox/faults", json=deny).raise_for_status()


@contextlib.contextmanager
def limited_user(target: Target, namespace: str, folder: Path) -> Iterator[Limited]:
    """Create a namespace and a user who has all rights at first; delete both after the block."""
    kube = target.kube
    kube.request("POST", "/api/v1/namespaces", json={"metadata": {"name": namespace}}).raise_for_status()
    config: dict[str, Any] = yaml.safe_load(kube.kubeconfig.read_text())
    scope = f"/namespaces/{namespace}"
    if target.real:
        kube.request(
            "POST", f"/api/v1{scope}/serviceaccounts", json={"metadata": {"name": "reader"}}
        ).raise_for_status()
        subjects = [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}]
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
        kube.request(
            "POST", f"{_RBAC}{scope}/roles", json={"metadata": {"name": "reader"}, "rules": []}
        ).raise_for_status()
        binding = {"metadata": {"name": "reader"}, "subjects": subjects, "roleRef": ref}
        kube.request("POST", f"{_RBAC}{scope}/rolebindings", json=binding).raise_for_status()
        response = kube.request("POST", f"/api/v1{scope}/serviceaccounts/reader/token", json={"spec": {}})
        token = response.raise_for_status().json()["status"]["token"]
    else:
        token = f"{config['users'][0]['user']['token']}.{namespace}"
    config["users"] = [{"name": "reader", "user": {"token": token}}]
    cluster = config["contexts"][0]["context"]["cluster"]
    config["contexts"] = [{"name": "c", "context": {"cluster": cluster, "user": "reader", "namespace": namespace}}]
    config["current-context"] = "c"
    path = folder / "limited.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    user = Limited(target, namespace, path)
    user.deny()
    try:
        yield user
    finally:
        user.deny()
        kube.request("DELETE", f"/api/v1/namespaces/{namespace}")
