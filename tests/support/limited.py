"""A user of the cluster who has all rights that reading logs takes but some, and gets or loses them during a test."""

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
#: What reading logs takes, by resource.
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
    """The user.

    Attributes
    ----------
    kubeconfig : Path
        Has the user's token, and the namespace of the test.
    lacking : set of str
        Resources that the user may not read, as RBAC writes them.
    """

    target: Target
    namespace: str
    kubeconfig: Path
    lacking: set[str] = field(default_factory=set)

    def lack(self, *resources: str) -> None:
        """Take away exactly these."""
        self.lacking = set(resources)
        kube = self.target.kube
        if self.target.real:
            rules = [
                {"apiGroups": [group], "resources": [name], "verbs": verbs}
                for name, (group, verbs) in _RULES.items()
                if name not in self.lacking
            ]
            body = {"metadata": {"name": "reader"}, "rules": rules}
            path = f"{_RBAC}/namespaces/{self.namespace}/roles/reader"
            kube.request("PUT", path, json=body).raise_for_status()
            return
        for fault in kube.request("GET", "/sandbox/faults").json()["faults"]:
            if fault["kind"] == "deny" and fault.get("user") == self.namespace:
                kube.request("DELETE", f"/sandbox/faults/{fault['id']}").raise_for_status()
        for name in self.lacking:
            deny = {"kind": "deny", "verb": "*", "resource": name, "namespace": self.namespace, "user": self.namespace}
            kube.request("POST", "/sandbox/faults", json=deny).raise_for_status()


@contextlib.contextmanager
def limited_user(target: Target, namespace: str, folder: Path) -> Iterator[Limited]:
    """Make a namespace with a user in it who has all rights at first; both go with the block."""
    kube = target.kube
    kube.request("POST", "/api/v1/namespaces", json={"metadata": {"name": namespace}}).raise_for_status()
    config: dict[str, Any] = yaml.safe_load(kube.kubeconfig.read_text())
    inside = f"/namespaces/{namespace}"
    if target.real:
        kube.request(
            "POST", f"/api/v1{inside}/serviceaccounts", json={"metadata": {"name": "reader"}}
        ).raise_for_status()
        subjects = [{"kind": "ServiceAccount", "name": "reader", "namespace": namespace}]
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
        kube.request(
            "POST", f"{_RBAC}{inside}/roles", json={"metadata": {"name": "reader"}, "rules": []}
        ).raise_for_status()
        binding = {"metadata": {"name": "reader"}, "subjects": subjects, "roleRef": ref}
        kube.request("POST", f"{_RBAC}{inside}/rolebindings", json=binding).raise_for_status()
        asked = kube.request("POST", f"/api/v1{inside}/serviceaccounts/reader/token", json={"spec": {}})
        token = asked.raise_for_status().json()["status"]["token"]
    else:
        token = f"{config['users'][0]['user']['token']}.{namespace}"
    config["users"] = [{"name": "reader", "user": {"token": token}}]
    cluster = config["contexts"][0]["context"]["cluster"]
    config["contexts"] = [{"name": "c", "context": {"cluster": cluster, "user": "reader", "namespace": namespace}}]
    config["current-context"] = "c"
    path = folder / "limited.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    user = Limited(target, namespace, path)
    user.lack()
    try:
        yield user
    finally:
        user.lack()
        kube.request("DELETE", f"/api/v1/namespaces/{namespace}")
