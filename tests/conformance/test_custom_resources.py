"""CustomResourceDefinitions and their objects: what is served, how it changes, and how it is deleted."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from conformance.test_errors import status
from support.kube import Follower, Kube, KubeError, python_job, python_pod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Target

Object = dict[str, Any]

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OPEN: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
MERGE, JSON_PATCH, STRATEGIC = (f"application/{kind}-patch+json" for kind in ("merge", "json", "strategic-merge"))


def as_form(kind: str, version: str = "v1") -> dict[str, str]:
    """Return the header that requests a form of `meta.k8s.io`."""
    return {"Accept": f"application/json;as={kind};g=meta.k8s.io;v={version}"}


@dataclass
class Custom:
    """A definition on the cluster, and requests for its objects."""

    kube: Kube
    group: str
    plural: str
    kind: str
    namespaced: bool = True
    api_version: str = field(init=False)

    def __post_init__(self) -> None:
        self.api_version = f"{self.group}/v1"

    @property
    def name(self) -> str:
        return f"{self.plural}.{self.group}"

    def manifest(self, **spec: Any) -> Object:
        """Return the definition: `v1` is stored and has a status; `v1beta1` is served too, without one."""
        versions = [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": OPEN},
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "State", "type": "string", "jsonPath": ".status.state"},
                    {
                        "name": "Ready",
                        "type": "string",
                        "jsonPath": '.status.conditions[?(@.type=="Ready")].status',
                        "priority": 1,
                    },
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
            },
            {"name": "v1beta1", "served": True, "storage": False, "schema": {"openAPIV3Schema": OPEN}},
        ]
        names = {"plural": self.plural, "kind": self.kind, "shortNames": [f"{self.plural[:3]}x"], "categories": ["all"]}
        scope = "Namespaced" if self.namespaced else "Cluster"
        definition = {"group": self.group, "scope": scope, "names": names, "versions": versions, **spec}
        api_version, kind = "apiextensions.k8s.io/v1", "CustomResourceDefinition"
        return {"apiVersion": api_version, "kind": kind, "metadata": {"name": self.name}, "spec": definition}

    def establish(self, **spec: Any) -> None:
        """Create the definition, and wait until it is served."""
        response = self.kube.request("POST", DEFINITIONS, json=self.manifest(**spec))
        if response.is_error:
            raise KubeError(response)
        # A real API server installs the handlers of the versions a moment after the condition.
        self.kube.wait_for(lambda: "Established" in self.conditions(), f"establishment of {self.name}")
        self.kube.wait_for(lambda: self.request("GET").is_success, f"handler of {self.name}")

    def definition(self) -> httpx.Response:
        return self.kube.request("GET", f"{DEFINITIONS}/{self.name}")

    def change(self, body: Object, method: str = "PATCH") -> httpx.Response:
        """Patch the definition, or replace it at its current version."""
        if method == "PUT":
            body["metadata"]["resourceVersion"] = self.definition().json()["metadata"]["resourceVersion"]
        headers = {"Content-Type": MERGE} if method == "PATCH" else {}
        return self.kube.request(method, f"{DEFINITIONS}/{self.name}", json=body, headers=headers)

    def conditions(self) -> dict[str, str]:
        """Return the reasons of the true conditions."""
        conditions = self.definition().json().get("status", {}).get("conditions") or []
        return {c["type"]: c["reason"] for c in conditions if c["status"] == "True"}

    def remove(self) -> None:
        """Delete the definition, and wait until it is gone."""
        self.kube.request("DELETE", f"{DEFINITIONS}/{self.name}")
        self.kube.wait_for(lambda: self.definition().status_code == httpx.codes.NOT_FOUND, f"end of {self.name}")

    def path(self, name: str = "", sub: str = "", *, version: str = "v1", namespace: str = "default") -> str:
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return "/".join(filter(None, (f"/apis/{self.group}/{version}{scope}/{self.plural}", name, sub)))

    def request(self, method: str, name: str = "", sub: str = "", **options: Any) -> httpx.Response:
        where = {key: options.pop(key) for key in ("version", "namespace") if key in options}
        return self.kube.request(method, self.path(name, sub, **where), **options)

    def obj(self, name: str, **fields: Any) -> Object:
        """Return an object."""
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": {"name": name}, **fields}

    def create(self, name: str, **fields: Any) -> Object:
        """Create an object, and return it as the server answers it."""
        where = {key: fields.pop(key) for key in ("version", "namespace") if key in fields}
        response = self.request("POST", json=self.obj(name, **fields), **where)
        if response.is_error:
            raise KubeError(response)
        created: Object = response.json()
        return created

    def get(self, name: str, **options: Any) -> Object:
        response = self.request("GET", name, **options)
        if response.is_error:
            raise KubeError(response)
        obj: Object = response.json()
        return obj

    def patch(self, name: str, change: Any, sub: str = "", kind: str = MERGE) -> httpx.Response:
        return self.request("PATCH", name, sub, json=change, headers={"Content-Type": kind})


#: Establishes a definition: `establish(plural, kind, namespaced=..., **spec)`.
Establish = Callable[..., Custom]


@pytest.fixture(scope="module")
def group() -> str:
    return f"g{uuid.uuid4().hex[:6]}.example.com"


@pytest.fixture(scope="module")
def probes(target: Target, group: str) -> Iterator[Custom]:
    """Return a namespaced custom resource with a status."""
    custom = Custom(target.kube, group, "probes", "Probe")
    custom.establish()
    yield custom
    custom.remove()


@pytest.fixture
def establish(target: Target, unique: Callable[[str], str]) -> Iterator[Establish]:
    """Return a function that establishes a definition in a group of its own; it is removed after the test."""
    definitions = []

    def establish_definition(
        plural: str, kind: str, *, namespaced: bool = True, group: str = "", **spec: Any
    ) -> Custom:
        custom = Custom(target.kube, group or f"{unique('g')}.example.com", plural, kind, namespaced)
        definitions.append(custom)
        custom.establish(**spec)
        return custom

    yield establish_definition
    for custom in definitions:
        custom.remove()


@pytest.fixture
def namespace(target: Target, unique: Callable[[str], str]) -> Iterator[str]:
    name = unique("crd")
    target.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    target.kube.delete("namespaces", name, grace=None, propagation=None)


def events(follower: Follower) -> list[tuple[str, str]]:
    """Return type and name of the events of a watch."""
    return [(e["type"], e["object"]["metadata"].get("name", "")) for e in map(json.loads, follower.lines)]


def watch(custom: Custom, **query: str) -> Follower:
    return Follower(custom.kube, custom.kube.server + custom.path(), {"watch": "true", **query})


# ---------------------------------------------------------------- definitions


def test_a_definition_is_established(probes: Custom) -> None:
    crd = probes.definition().json()
    assert crd["spec"]["names"] == crd["status"]["acceptedNames"]
    assert (crd["spec"]["names"]["singular"], crd["spec"]["names"]["listKind"]) == ("probe", "ProbeList")
    assert crd["spec"]["conversion"] == {"strategy": "None"} and crd["metadata"]["generation"] == 1
    assert crd["status"]["storedVersions"] == ["v1"]
    conditions = {c["type"]: (c["status"], c["reason"], c["message"]) for c in crd["status"]["conditions"]}
    assert conditions == {
        "NamesAccepted": ("True", "NoConflicts", "no conflicts found"),
        "Established": ("True", "InitialNamesAccepted", "the initial names have been accepted"),
    }


def test_a_new_definition_has_no_conditions_yet(target: Target, unique: Callable[[str], str]) -> None:
    custom = Custom(target.kube, f"{unique('g')}.example.com", "things", "Thing")
    answer = target.kube.request("POST", DEFINITIONS, json=custom.manifest())
    try:
        assert answer.status_code == httpx.codes.CREATED
        assert answer.json()["status"] == {
            "conditions": None,
            "acceptedNames": {"plural": "", "kind": ""},
            "storedVersions": ["v1"],
        }
        again = target.kube.request("POST", DEFINITIONS, json=custom.manifest())
        expected = f'customresourcedefinitions.apiextensions.k8s.io "{custom.name}" already exists'
        assert status(again) == (409, "AlreadyExists", expected)
        assert again.json()["details"]["group"] == "apiextensions.k8s.io"
    finally:
        custom.remove()


def _without_schema(crd: Object) -> None:
    del crd["spec"]["versions"][0]["schema"]


def _without_storage(crd: Object) -> None:
    crd["spec"]["versions"][0]["storage"] = False


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        (
            lambda crd: crd["metadata"].update(name="other.example.com"),
            "metadata.name",
            'Invalid value: "other.example.com": must be spec.names.plural+"."+spec.group',
        ),
        (_without_schema, "spec.versions[0].schema.openAPIV3Schema", "Required value: schemas are required"),
        (lambda crd: crd["spec"].pop("scope"), "spec.scope", "Required value"),
    ],
)
def test_invalid_definitions(target: Target, change: Callable[[Object], Any], field: str, problem: str) -> None:
    crd = Custom(target.kube, "invalid.example.com", "things", "Thing").manifest()
    change(crd)
    answer = target.kube.request("POST", DEFINITIONS, json=crd)
    name = crd["metadata"]["name"]
    expected = f'CustomResourceDefinition.apiextensions.k8s.io "{name}" is invalid: {field}: {problem}'
    assert status(answer) == (422, "Invalid", expected)
    details = answer.json()["details"]
    assert (details["group"], details["kind"]) == ("apiextensions.k8s.io", "CustomResourceDefinition")
    assert details["causes"][0]["field"] == field and details["causes"][0]["message"] == problem


def test_one_version_must_be_stored(target: Target) -> None:
    crd = Custom(target.kube, "invalid.example.com", "things", "Thing").manifest()
    _without_storage(crd)
    code, _, message = status(target.kube.request("POST", DEFINITIONS, json=crd))
    assert code == 422 and "must have exactly one version marked as storage version" in message


def test_groups_of_kubernetes_need_an_approval(target: Target) -> None:
    crd = Custom(target.kube, "invalid.k8s.io", "things", "Thing").manifest()
    code, _, message = status(target.kube.request("POST", DEFINITIONS, json=crd))
    assert code == 422
    assert "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have" in message


def test_a_kind_that_is_taken_is_not_established(target: Target, probes: Custom) -> None:
    other = Custom(target.kube, probes.group, "copies", "Probe")
    target.kube.request("POST", DEFINITIONS, json=other.manifest())
    try:

        def named() -> bool:
            return bool(other.definition().json()["status"]["conditions"])

        target.kube.wait_for(named, "conditions")
        conditions = {c["type"]: c for c in other.definition().json()["status"]["conditions"]}
        accepted, established = conditions["NamesAccepted"], conditions["Established"]
        assert (accepted["status"], accepted["reason"]) == ("False", "ListKindConflict")
        assert accepted["message"] == '"ProbeList" is already in use'
        assert (established["status"], established["reason"]) == ("False", "NotAccepted")
        assert other.request("GET").status_code == httpx.codes.NOT_FOUND
    finally:
        other.remove()


def test_a_definition_can_get_another_version(establish: Establish) -> None:
    custom = establish("growths", "Growth")
    custom.create("a", spec={"x": 1})
    versions = custom.manifest()["spec"]["versions"]
    versions[0]["storage"], later = False, {**versions[1], "name": "v2", "storage": True}
    body = {"spec": {"versions": [*versions, later]}}
    answer = custom.change(body)
    assert answer.is_success and answer.json()["metadata"]["generation"] == 2
    custom.kube.wait_for(lambda: custom.request("GET", "a", version="v2").is_success, "version v2")
    assert custom.get("a", version="v2")["apiVersion"] == f"{custom.group}/v2"
    assert custom.definition().json()["status"]["storedVersions"] == ["v1", "v2"]
    info = custom.kube.wait_for(lambda: _versions(custom)[2:] and _versions(custom), "discovery of v2")
    assert info == ["v2", "v1", "v1beta1"]


def test_a_definition_can_be_replaced_by_its_manifest(establish: Establish) -> None:
    custom = establish("sources", "Source")
    before = custom.definition().json()
    answer = custom.change(custom.manifest(), "PUT")  # as `kubectl replace` does
    assert answer.status_code == httpx.codes.OK
    after = answer.json()
    assert (after["spec"], after["status"]) == (before["spec"], before["status"])
    assert after["metadata"]["generation"] == 1
    renamed = custom.manifest()
    renamed["spec"]["names"] |= {"listKind": "SourceItems", "shortNames": ["so"]}
    answer = custom.change(renamed, "PUT")
    assert answer.json()["spec"]["names"]["singular"] == "source" and answer.json()["metadata"]["generation"] == 2
    custom.kube.wait_for(lambda: custom.request("GET").json().get("kind") == "SourceItems", "the new name")


def test_errors_of_a_changed_definition(probes: Custom) -> None:
    def change(body: Object, method: str = "PATCH") -> tuple[int, str, str]:
        return status(probes.change(body, method))

    invalid = f'CustomResourceDefinition.apiextensions.k8s.io "{probes.name}" is invalid: '
    for path, value in (("scope", "Cluster"), ("names.kind", "Other"), ("group", "x.io"), ("names.plural", "others")):
        body: Object = {"spec": {path: value}}
        if path.startswith("names."):
            body = {"spec": {"names": {path.removeprefix("names."): value}}}
        text = f'{invalid}spec.{path}: Invalid value: "{value}": field is immutable'
        assert change(body) == (422, "Invalid", text)
    for spec in ({}, {"spec": None}):
        body = probes.manifest()
        del body["spec"]
        code, reason, text = change(body | spec, "PUT")
        assert (code, reason) == (422, "Invalid") and text.startswith(invalid) and "spec.scope: Required value" in text
    assert probes.definition().json()["metadata"]["generation"] == 1


def _versions(custom: Custom) -> list[str]:
    return [v["version"] for v in custom.kube.request("GET", f"/apis/{custom.group}").json()["versions"]]


# ---------------------------------------------------------------- discovery


def _without_hash(document: Object) -> Object:
    for resource in document["resources"]:
        resource.pop("storageVersionHash", None)
        resource["verbs"] = sorted(resource["verbs"])
    return document


def test_discovery_of_a_custom_group(probes: Custom) -> None:
    first, second = ({"groupVersion": f"{probes.group}/{v}", "version": v} for v in ("v1", "v1beta1"))
    info = {"name": probes.group, "versions": [first, second], "preferredVersion": first}
    document = probes.kube.request("GET", f"/apis/{probes.group}").json()
    assert document == {"kind": "APIGroup", "apiVersion": "v1", **info}

    def group_info() -> Object | None:
        groups = probes.kube.request("GET", "/apis").json()["groups"]
        return next((g for g in groups if g["name"] == probes.group), None)

    assert probes.kube.wait_for(group_info, "the group in /apis") == info
    verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    entry = {"name": "probes", "singularName": "probe", "namespaced": True, "kind": "Probe", "verbs": verbs}
    entry |= {"shortNames": ["prox"], "categories": ["all"]}
    sub = {"name": "probes/status", "singularName": "", "namespaced": True, "kind": "Probe"}
    sub["verbs"] = ["get", "patch", "update"]
    for version, resources in (("v1", [entry, sub]), ("v1beta1", [entry])):
        document = _without_hash(probes.kube.request("GET", f"/apis/{probes.group}/{version}").json())
        group_version = f"{probes.group}/{version}"
        expected = {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version,
            "resources": resources,
        }
        assert document == expected


@pytest.mark.parametrize("path", ["/apis/nobody.example.com", "/apis/nobody.example.com/v1/things", "{}/v2", "{}/v1/x"])
def test_what_no_definition_serves_is_a_plain_404(probes: Custom, path: str) -> None:
    answer = probes.kube.request("GET", path.format(f"/apis/{probes.group}"))
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")


@pytest.mark.parametrize("path", ["/apis/batch/v1/nothings", "/apis/batch/v9", "/apis/authorization.k8s.io/v1/x"])
def test_a_missing_resource_of_a_built_in_group(target: Target, path: str) -> None:
    expected = (404, "NotFound", "the server could not find the requested resource")
    assert status(target.kube.request("GET", path)) == expected


def test_errors_of_built_in_kinds_name_the_group(target: Target, unique: Callable[[str], str]) -> None:
    name = unique("a")
    job = python_job(name, "")
    job["spec"]["template"]["spec"]["schedulerName"] = "no-such-scheduler"
    target.kube.create(job)
    path = target.kube.path("jobs", name)
    try:
        again = target.kube.request("POST", target.kube.path("jobs"), json=job)
        assert again.json()["details"] == {"name": name, "group": "batch", "kind": "jobs"}
        stale = job | {"metadata": {"name": name, "resourceVersion": "1"}}
        code, _, text = status(target.kube.request("PUT", path, json=stale))
        assert code == 409 and text.startswith(f'Operation cannot be fulfilled on jobs.batch "{name}": ')
        text = f"the name of the object (other) does not match the name on the URL ({name})"
        other = job | {"metadata": {"name": "other"}}
        assert status(target.kube.request("PUT", path, json=other)) == (400, "BadRequest", text)
        answer = target.kube.request("PATCH", path, json={}, headers={"Content-Type": "application/json"})
        assert status(answer) == (415, "UnsupportedMediaType", "415: Unsupported Media Type")
    finally:
        response = target.kube.request("DELETE", path, json={"propagationPolicy": "Background"})
    details = response.json()["details"]
    assert (details["name"], details["group"], details["kind"]) == (name, "batch", "jobs")
    job["spec"]["template"]["spec"]["restartPolicy"] = "Always"
    text = f'Job.batch "{name}" is invalid: spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'
    assert status(target.kube.request("POST", target.kube.path("jobs"), json=job)) == (422, "Invalid", text)


def test_aggregated_discovery(target: Target, probes: Custom) -> None:
    target.needs(30, "aggregated discovery v2")
    form = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    accept = {"Accept": f"{form},{form.replace('v=v2', 'v=v2beta1')},application/json"}
    answer = target.kube.request("GET", "/apis", headers=accept)
    assert answer.headers["Content-Type"] == form and answer.headers["Vary"] == "Accept"
    document = answer.json()
    assert (document["kind"], document["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    groups = {item["metadata"]["name"]: item["versions"] for item in document["items"]}
    assert {"apps", "batch", "apiextensions.k8s.io", probes.group} <= set(groups)
    stable, beta = groups[probes.group]
    assert (stable["version"], beta["version"], stable["freshness"]) == ("v1", "v1beta1", "Current")
    (resource,) = stable["resources"]
    kind = {"group": probes.group, "version": "v1", "kind": "Probe"}
    assert resource["resource"] == "probes" and resource["responseKind"] == kind
    assert (resource["scope"], resource["singularResource"], resource["shortNames"], resource["categories"]) == (
        "Namespaced",
        "probe",
        ["prox"],
        ["all"],
    )
    assert [s["subresource"] for s in resource["subresources"]] == ["status"]
    assert "subresources" not in beta["resources"][0]
    same = target.kube.request("GET", "/apis", headers=accept | {"If-None-Match": answer.headers["ETag"]})
    assert same.status_code == httpx.codes.NOT_MODIFIED and not same.content
    core = target.kube.request("GET", "/api", headers=accept).json()["items"]
    assert "pods" in [r["resource"] for r in core[0]["versions"][0]["resources"]]


def test_clients_that_do_not_ask_for_it_get_no_aggregated_discovery(target: Target) -> None:
    for path, kind in (("/api", "APIVersions"), ("/apis", "APIGroupList")):
        assert target.kube.request("GET", path).json()["kind"] == kind
        accept = {"Accept": "application/json;q=0.9"}
        assert target.kube.request("GET", path, headers=accept).json()["kind"] == kind


# ---------------------------------------------------------------- objects


def test_create_get_and_list(probes: Custom, unique: Callable[[str], str]) -> None:
    name = unique("a")
    created = probes.create(name, spec={"x": 1}, status={"state": "ignored"})
    meta = created["metadata"]
    assert (created["apiVersion"], created["kind"], created["spec"]) == (probes.api_version, "Probe", {"x": 1})
    assert "status" not in created
    assert meta["generation"] == 1 and meta["namespace"] == "default" and meta["uid"]
    assert probes.get(name) == created
    document = probes.request("GET").json()
    assert (document["kind"], document["apiVersion"]) == ("ProbeList", probes.api_version)
    assert created in document["items"]  # with kind and version, unlike the items of built-in lists
    everywhere = probes.request("GET", namespace="").json()
    assert created in everywhere["items"]
    assert probes.get(name, version="v1beta1") == created | {"apiVersion": f"{probes.group}/v1beta1"}
    beta = probes.request("GET", version="v1beta1").json()
    assert {item["apiVersion"] for item in [beta, *beta["items"]]} == {f"{probes.group}/v1beta1"}


def test_errors_of_create(target: Target, probes: Custom, unique: Callable[[str], str]) -> None:
    name = unique("a")
    probes.create(name)

    def post(obj: Object, **where: str) -> tuple[int, str, str]:
        return status(probes.request("POST", json=obj, **where))

    assert post(probes.obj(name)) == (409, "AlreadyExists", f'{probes.name} "{name}" already exists')
    obj = probes.obj("new")
    other = f"{probes.group}/v1beta1"
    text = f"the API version in the data ({other}) does not match the expected API version ({probes.api_version})"
    assert post(obj | {"apiVersion": other}) == (400, "BadRequest", text)
    text = f'Other.{probes.group} "new" is invalid: kind: Invalid value: "Other": must be Probe'
    assert post(obj | {"kind": "Other"}) == (422, "Invalid", text)
    code, reason, text = post({"metadata": {"name": "new"}})
    assert (code, reason) == (400, "BadRequest") and "Object 'Kind' is missing in" in text
    text = f"the API version in the data () does not match the expected API version ({probes.api_version})"
    answer = post({"kind": "Probe", "metadata": {"name": "new"}})
    # Before 1.24, the decoder filled in the version of the path, and `BeforeCreate` missed that of the object.
    assert answer == (400, "BadRequest", text) or (target.minor < 24 and answer[:2] == (500, "InternalError"))
    code, reason, text = post(obj | {"metadata": {"name": "N_"}})
    assert (code, reason) == (422, "Invalid")
    assert text.startswith(f'Probe.{probes.group} "N_" is invalid: metadata.name: Invalid value: "N_": ')
    text = f'Probe.{probes.group} "" is invalid: metadata.name: Required value: name or generateName is required'
    assert post(obj | {"metadata": {}}) == (422, "Invalid", text)
    assert post(obj, namespace="nowhere") == (404, "NotFound", 'namespaces "nowhere" not found')
    answer = probes.request("POST", json=obj, namespace="")
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    assert status(probes.request("GET", "nobody")) == (404, "NotFound", f'{probes.name} "nobody" not found')
    generated = probes.request("POST", json=obj | {"metadata": {"generateName": "some-"}}).json()
    assert generated["metadata"]["name"].startswith("some-")


def test_selectors_and_chunks(probes: Custom, unique: Callable[[str], str]) -> None:
    label = unique("set")
    for index in range(3):
        obj = probes.obj(f"{label}-{index}")
        obj["metadata"]["labels"] = {"set": label, "index": str(index)}
        assert probes.request("POST", json=obj).is_success

    def names(**query: Any) -> tuple[list[str], Object]:
        document = probes.request("GET", params=query).json()
        return [item["metadata"]["name"] for item in document["items"]], document["metadata"]

    assert names(labelSelector=f"set={label},index!=1")[0] == [f"{label}-0", f"{label}-2"]
    assert names(fieldSelector=f"metadata.name={label}-1")[0] == [f"{label}-1"]
    first, meta = names(labelSelector=f"set={label}", limit=2)
    rest, _ = names(labelSelector=f"set={label}", limit=2, **{"continue": meta["continue"]})
    assert first + rest == [f"{label}-{i}" for i in range(3)]
    answer = probes.request("GET", params={"fieldSelector": "spec.x=1"})
    assert status(answer) == (400, "BadRequest", "field label not supported: spec.x")
    deleted = probes.request("DELETE", params={"labelSelector": f"set={label}"})
    assert deleted.is_success and deleted.json()["kind"] == "ProbeList"
    assert names(labelSelector=f"set={label}")[0] == []


def test_the_status_is_a_subresource(probes: Custom, unique: Callable[[str], str]) -> None:
    name = unique("a")
    probes.create(name, spec={"x": 1})
    changed = probes.patch(name, {"spec": {"x": 2}, "status": {"state": "ignored"}}).json()
    assert (changed["spec"], changed["metadata"]["generation"]) == ({"x": 2}, 2) and "status" not in changed
    change = {"spec": {"x": 3}, "status": {"state": "done"}, "metadata": {"labels": {"l": "m"}}}
    changed = probes.patch(name, change, "status").json()
    assert (changed["spec"], changed["status"], changed["metadata"]["generation"]) == ({"x": 2}, {"state": "done"}, 2)
    assert "labels" not in changed["metadata"]
    assert probes.request("GET", name, "status").json() == changed
    put = probes.request("PUT", name, json=changed | {"spec": {"x": 4}, "status": {}}).json()
    assert (put["spec"], put["status"], put["metadata"]["generation"]) == ({"x": 4}, {"state": "done"}, 3)
    put = probes.request("PUT", name, "status", json=put | {"spec": {"x": 5}, "status": {"state": "off"}}).json()
    assert (put["spec"], put["status"], put["metadata"]["generation"]) == ({"x": 4}, {"state": "off"}, 3)
    labelled = probes.patch(name, {"metadata": {"labels": {"l": "m"}}}).json()
    assert labelled["metadata"]["labels"] == {"l": "m"} and labelled["metadata"]["generation"] == 3
    assert "status" not in probes.patch(name, {"status": None}, "status").json()
    stale = probes.request("PUT", name, "status", json=put | {"status": {"state": "late"}})
    assert stale.status_code == httpx.codes.CONFLICT


def test_without_the_subresource_the_status_is_a_field(probes: Custom, unique: Callable[[str], str]) -> None:
    # `v1beta1` has no subresource.
    name = unique("a")
    obj = probes.obj(name, status={"state": "new"}) | {"apiVersion": f"{probes.group}/v1beta1"}
    created = probes.request("POST", json=obj, version="v1beta1").json()
    assert created["status"] == {"state": "new"}
    body = created | {"status": {"state": "changed"}}
    changed = probes.request("PUT", name, version="v1beta1", json=body).json()
    assert changed["status"] == {"state": "changed"} and changed["metadata"]["generation"] == 2
    answer = probes.request("GET", name, "status", version="v1beta1")
    assert status(answer) == (404, "NotFound", f'{probes.name} "{name}" not found')


def test_errors_of_update(probes: Custom, unique: Callable[[str], str]) -> None:
    name = unique("a")
    created = probes.create(name, spec={"x": 1})
    text = f'{probes.name} "{name}" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for an update'
    assert status(probes.request("PUT", name, json=probes.obj(name))) == (422, "Invalid", text)
    text = f"the name of the object ({name}) does not match the name on the URL (nobody)"
    assert status(probes.request("PUT", "nobody", json=created)) == (400, "BadRequest", text)
    answer = probes.request("PUT", "nobody", json=probes.obj("nobody"))
    assert status(answer) == (404, "NotFound", f'{probes.name} "nobody" not found')
    probes.patch(name, {"spec": {"x": 2}})
    code, reason, text = status(probes.request("PUT", name, json=created))
    assert (code, reason) == (409, "Conflict")
    assert text.startswith(f'Operation cannot be fulfilled on {probes.name} "{name}": the object has been modified')


def test_patches(probes: Custom, unique: Callable[[str], str]) -> None:
    name = unique("a")
    probes.create(name, spec={"x": 1, "list": [{"name": "a"}, {"name": "b"}]})
    merged = probes.patch(name, {"spec": {"x": None, "list": [{"name": "c"}]}}).json()
    assert merged["spec"] == {"list": [{"name": "c"}]}
    operations = [
        {"op": "test", "path": "/spec/list/0/name", "value": "c"},
        {"op": "add", "path": "/spec/list/-", "value": {"name": "d"}},
    ]
    assert [i["name"] for i in probes.patch(name, operations, kind=JSON_PATCH).json()["spec"]["list"]] == ["c", "d"]
    text = "the server rejected our request due to an error in our request"
    assert status(probes.patch(name, operations[:1] * 2 + [{"op": "remove", "path": "/spec/no"}], kind=JSON_PATCH)) == (
        422,
        "Invalid",
        text,
    )
    wrong = [{"op": "test", "path": "/spec/list/0/name", "value": "other"}]
    assert status(probes.patch(name, wrong, kind=JSON_PATCH)) == (422, "Invalid", text)
    text = (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )
    for kind in (STRATEGIC, "application/json"):
        assert status(probes.patch(name, {"spec": {}}, kind=kind)) == (415, "UnsupportedMediaType", text)
    text = f"the name of the object (other) does not match the name on the URL ({name})"
    assert status(probes.patch(name, {"metadata": {"name": "other"}})) == (400, "BadRequest", text)


def test_the_schema_prunes_and_defaults(establish: Establish) -> None:
    spec = {
        "type": "object",
        "properties": {
            "mode": {"type": "string", "default": "fast"},
            "parts": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "open": OPEN,
        },
    }
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    custom = establish("shapes", "Shape", versions=[version])
    sent = {"unknown": 1, "parts": [{"n": 1, "m": 2}], "labels": {"a": "b"}, "open": {"any": {"thing": 1}}}
    created = custom.create("a", spec=sent, other=1)
    expected = {"mode": "fast", "parts": [{"n": 1}], "labels": {"a": "b"}, "open": {"any": {"thing": 1}}}
    assert created["spec"] == expected and "other" not in created


def test_watch(probes: Custom, unique: Callable[[str], str]) -> None:
    version = probes.request("GET").json()["metadata"]["resourceVersion"]
    name = unique("a")
    follower = watch(probes, resourceVersion=version, fieldSelector=f"metadata.name={name}")
    try:
        probes.create(name)
        probes.patch(name, {"spec": {"x": 1}})
        probes.request("DELETE", name)
        expected = [(kind, name) for kind in ("ADDED", "MODIFIED", "DELETED")]
        follower.wait_for(lambda f: events(f) == expected, "the three events")
        objects = [json.loads(line)["object"] for line in follower.lines]
        assert {(o["apiVersion"], o["kind"]) for o in objects} == {(probes.api_version, "Probe")}
    finally:
        follower.close()


def test_cluster_scoped_objects(establish: Establish) -> None:
    custom = establish("pools", "Pool", namespaced=False)
    created = custom.create("a", spec={"x": 1})
    assert "namespace" not in created["metadata"] and created["metadata"]["generation"] == 1
    assert custom.get("a") == created
    assert [i["metadata"]["name"] for i in custom.request("GET").json()["items"]] == ["a"]
    answer = custom.kube.request("GET", f"/apis/{custom.group}/v1/namespaces/default/pools")
    assert (answer.status_code, answer.text) == (404, "404 page not found\n")
    custom.patch("a", {"status": {"state": "on"}}, "status")
    assert custom.get("a")["status"] == {"state": "on"}


def test_a_plural_and_a_kind_of_a_built_in_group(target: Target, establish: Establish) -> None:
    custom = establish("jobs", "Job")
    created = custom.create("same", spec={"template": 1})
    assert created["spec"] == {"template": 1}
    assert custom.patch("same", {"spec": {"template": 2}}).json()["spec"] == {"template": 2}
    answer = target.kube.request("GET", target.kube.path("jobs", "same"))
    assert status(answer) == (404, "NotFound", 'jobs.batch "same" not found')
    assert "same" not in [i["metadata"]["name"] for i in target.kube.list("jobs")["items"]]
    assert custom.request("DELETE", "same").json()["status"] == "Success"


# ---------------------------------------------------------------- forms


def test_metadata_alone(probes: Custom, unique: Callable[[str], str]) -> None:
    name = unique("a")
    created = probes.create(name, spec={"x": 1})
    expected = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": created["metadata"]}
    assert probes.request("GET", name, headers=as_form("PartialObjectMetadata")).json() == expected
    accept = {"Accept": as_form("PartialObjectMetadataList")["Accept"] + ",application/json"}
    query = {"fieldSelector": f"metadata.name={name}"}
    document = probes.request("GET", params=query, headers=accept).json()
    assert (document["kind"], document["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert document["items"] == [expected] and document["metadata"]["resourceVersion"]
    watched = probes.request(
        "GET", params=query | {"watch": "true", "timeoutSeconds": "1"}, headers=as_form("PartialObjectMetadata")
    )
    assert json.loads(watched.text.splitlines()[0]) == {"type": "ADDED", "object": expected}
    beta = probes.request("GET", name, headers=as_form("PartialObjectMetadata", "v1beta1")).json()
    assert beta["apiVersion"] == "meta.k8s.io/v1beta1"


def test_metadata_alone_of_built_in_kinds(target: Target) -> None:
    node = target.kube.list("nodes")["items"][0]
    answer = target.kube.request(
        "GET", target.kube.path("nodes", node["metadata"]["name"]), headers=as_form("PartialObjectMetadata")
    ).json()
    assert set(answer) == {"kind", "apiVersion", "metadata"} and answer["metadata"]["uid"] == node["metadata"]["uid"]
    accept = as_form("PartialObjectMetadataList")
    (item,) = target.kube.request("GET", target.kube.path("nodes"), headers=accept).json()["items"]
    assert (item["kind"], item["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")


def test_forms_that_do_not_exist(probes: Custom) -> None:
    answer = probes.request("GET", headers=as_form("PartialObjectMetadata"))
    assert (answer.status_code, answer.json()["reason"]) == (406, "NotAcceptable")
    text = "you requested PartialObjectMetadata, but the requested object is a list"
    assert answer.json()["message"].startswith(text)
    answer = probes.request("GET", headers=as_form("Nothing"))
    assert (answer.status_code, answer.json()["reason"]) == (406, "NotAcceptable")
    assert answer.json()["message"].startswith("only the following media types are accepted: application/json")
    fallback = {"Accept": as_form("Nothing")["Accept"] + ", application/json"}
    assert probes.request("GET", headers=fallback).json()["kind"] == "ProbeList"


def test_tables_have_the_columns_of_the_definition(probes: Custom, unique: Callable[[str], str]) -> None:
    name = unique("a")
    created = probes.create(name)
    query = {"fieldSelector": f"metadata.name={name}"}
    table = probes.request("GET", params=query, headers=as_form("Table")).json()
    columns = [(c["name"], c["type"], c["priority"]) for c in table["columnDefinitions"]]
    assert columns == [("Name", "string", 0), ("State", "string", 0), ("Ready", "string", 1), ("Age", "date", 0)]
    (row,) = table["rows"]
    assert row["cells"][:3] == [name, None, None] and row["cells"][3].endswith("s")
    assert row["object"]["metadata"] == created["metadata"] and row["object"]["kind"] == "PartialObjectMetadata"
    conditions = [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]
    probes.patch(name, {"status": {"state": "on", "conditions": conditions}}, "status")
    (row,) = probes.request("GET", params=query, headers=as_form("Table")).json()["rows"]
    assert row["cells"][:3] == [name, "on", "True"]
    beta = probes.request("GET", params=query, headers=as_form("Table"), version="v1beta1").json()
    assert [c["name"] for c in beta["columnDefinitions"]] == ["Name", "Age"]


def test_cells_have_the_type_of_their_column(probes: Custom, establish: Establish) -> None:
    types = ("string", "integer", "number", "boolean", "date")
    versions = probes.manifest()["spec"]["versions"]
    versions[0]["additionalPrinterColumns"] = [{"name": t, "type": t, "jsonPath": ".value"} for t in types]
    custom = establish("cells", "Cell", versions=versions)

    def cells(name: str) -> list[Any]:
        (row,) = custom.request("GET", name, headers=as_form("Table")).json()["rows"]
        row_cells: list[Any] = row["cells"]
        return row_cells[1:]

    for index, (value, expected) in enumerate(
        [
            (True, ["true", None, None, True, None]),
            (1, ["1", 1, 1, None, None]),
            (1.0, ["1", 1, 1, None, None]),
            (1.5, ["1.5", 1, 1.5, None, None]),
            (-1e21, ["-1e+21", -(2**63), -1e21, None, None]),
            ("", ["", None, None, None, "<unknown>"]),
            ("text", ["text", None, None, None, "<invalid>"]),
            (["a", "b"], ['["a","b"]', None, None, None, None]),
            ({"b": None, "a": 1}, ['{"a":1,"b":null}', None, None, None, None]),
            # Only RFC 3339 is a date, which needs a time and a zone.
            *((text, [text, None, None, None, "<invalid>"]) for text in ("2020-01-01", "2020-01-01T00:00:00")),
            ("2020-01-01 00:00:00Z", ["2020-01-01 00:00:00Z", None, None, None, "<invalid>"]),
        ]
    ):
        custom.create(f"c{index}", value=value)
        assert cells(f"c{index}") == expected, value
    custom.create("absent")
    assert cells("absent") == [None] * len(types)
    custom.create("dated", value="2020-01-01T00:00:00.5+02:00")
    assert "d" in cells("dated")[-1].lower() and "<" not in cells("dated")[-1]


def test_a_dry_run_creates_nothing(target: Target, probes: Custom, unique: Callable[[str], str]) -> None:
    name, query = unique("a"), {"dryRun": "All"}
    answer = probes.request("POST", json=probes.obj(name), params=query)
    meta = answer.json()["metadata"]
    assert answer.status_code == httpx.codes.CREATED and meta["creationTimestamp"] and "resourceVersion" not in meta
    for manifest in (probes.obj(name), probes.obj("") | {"metadata": {"generateName": f"{name}-"}}):
        table = probes.request("POST", json=manifest, params=query, headers=as_form("Table")).json()
        (row,) = table["rows"]
        assert table["metadata"] == {} and row["cells"][0].startswith(name) and row["cells"][1:] == [None, None, "0s"]
    pod = target.kube.request(
        "POST", target.kube.path("pods"), json=python_pod(name, ""), params=query, headers=as_form("Table")
    ).json()
    assert pod["rows"][0]["cells"][:3] == [name, "0/1", "Pending"]
    for answer in (probes.request("GET", name), target.kube.request("GET", target.kube.path("pods", name))):
        assert answer.status_code == httpx.codes.NOT_FOUND


# ---------------------------------------------------------------- deletion


def _owner(obj: Object) -> Object:
    meta = obj["metadata"]
    return {key: obj[key] for key in ("apiVersion", "kind")} | {key: meta[key] for key in ("name", "uid")}


def _owned_by(pod: Object, *owners: Object) -> Object:
    pod["metadata"]["ownerReferences"] = [_owner(owner) for owner in owners]
    pod["spec"]["schedulerName"] = "no-such-scheduler"
    return pod


def test_delete(probes: Custom, unique: Callable[[str], str]) -> None:
    name = unique("a")
    uid = probes.create(name)["metadata"]["uid"]
    answer = probes.request("DELETE", name).json()
    assert answer["status"] == "Success"
    assert answer["details"] == {"name": name, "group": probes.group, "kind": "probes", "uid": uid}
    assert probes.request("GET", name).status_code == httpx.codes.NOT_FOUND


def test_an_object_with_finalizers_waits_for_them(probes: Custom, unique: Callable[[str], str]) -> None:
    name = unique("a")
    obj = probes.obj(name)
    obj["metadata"]["finalizers"] = ["example.com/mine"]
    assert probes.request("POST", json=obj).is_success
    marked = probes.request("DELETE", name).json()
    assert marked["kind"] == "Probe" and marked["metadata"]["deletionTimestamp"]
    assert probes.get(name)["metadata"]["deletionTimestamp"]
    assert probes.patch(name, {"metadata": {"finalizers": None}}).is_success
    assert probes.request("GET", name).status_code == httpx.codes.NOT_FOUND


def test_what_a_custom_object_owns_is_deleted_with_it(
    target: Target, probes: Custom, unique: Callable[[str], str]
) -> None:
    names = [unique(prefix) for prefix in ("owner", "part", "pod", "shared")]
    owner, other = probes.create(names[0]), probes.create(names[0] + "-2")
    part = probes.obj(names[1])
    part["metadata"]["ownerReferences"] = [_owner(owner)]
    part = probes.request("POST", json=part).json()
    target.kube.create(_owned_by(python_pod(names[2], ""), part))
    target.kube.create(_owned_by(python_pod(names[3], ""), part, other))
    try:
        probes.request("DELETE", names[0])

        def is_gone() -> bool:
            pods = [p["metadata"]["name"] for p in target.kube.list("pods")["items"]]
            return names[2] not in pods and probes.request("GET", names[1]).status_code == httpx.codes.NOT_FOUND

        target.kube.wait_for(is_gone, "the end of what it owns")

        def has_one_owner() -> bool:
            references = target.kube.get("pods", names[3])["metadata"]["ownerReferences"]
            return [r["uid"] for r in references] == [other["metadata"]["uid"]]

        target.kube.wait_for(has_one_owner, "the removal of the dead owner's reference")
    finally:
        for name in names[2:]:
            target.kube.delete("pods", name)
        probes.request("DELETE", names[0] + "-2")


def test_pods_that_a_pod_owns_are_deleted_with_it(target: Target, unique: Callable[[str], str]) -> None:
    # As the executors of a Spark application, which belong to its driver.
    driver, executor = unique("driver"), unique("executor")
    target.kube.create(python_pod(driver, "import time; time.sleep(600)"))
    target.kube.create(_owned_by(python_pod(executor, ""), target.kube.get("pods", driver)))
    target.kube.wait_pod(driver, lambda p: p["status"]["phase"] == "Running", "start")
    target.kube.delete("pods", driver, grace=1)

    def pods() -> list[str]:
        return [p["metadata"]["name"] for p in target.kube.list("pods")["items"]]

    target.kube.wait_for(lambda: not {driver, executor} & set(pods()), "the end of both")


@pytest.mark.parametrize("finalizers", [[], ["example.com/mine"]])
def test_orphans_stay(target: Target, probes: Custom, unique: Callable[[str], str], finalizers: list[str]) -> None:
    def stays() -> bool:
        name, pod = unique("owner"), unique("pod")
        manifest = probes.obj(name)
        manifest["metadata"]["finalizers"] = finalizers
        owner = probes.request("POST", json=manifest).json()
        target.kube.create(_owned_by(python_pod(pod, ""), owner))
        try:
            probes.request("DELETE", name, json={"propagationPolicy": "Orphan"})
            if finalizers:
                # The garbage collector has a finalizer of its own, which goes when the dependents are orphans.
                target.kube.wait_for(
                    lambda: probes.get(name)["metadata"]["finalizers"] == finalizers, "the finalizer of the collector"
                )
                probes.patch(name, {"metadata": {"finalizers": None}})

            def is_decided() -> str:
                response = target.kube.request("GET", target.kube.path("pods", pod))
                if response.status_code == 404:
                    return "collected"
                return "" if response.json()["metadata"].get("ownerReferences") else "orphan"

            return target.kube.wait_for(is_decided, "the removal of the reference or of the pod") == "orphan"
        finally:
            target.kube.delete("pods", pod)

    # A garbage collector looks for new kinds every 30 s (`Sync` in kubernetes/pkg/controller/garbagecollector); until then it
    # finds no dependents of such an object to make orphans of.
    target.kube.wait_for(stays, "a pod that outlives its owner")


def test_a_deleted_job_that_waits_for_a_finalizer_starts_no_pods(target: Target, unique: Callable[[str], str]) -> None:
    name, kube = unique("a"), target.kube
    job = python_job(name, "import time; time.sleep(600)")
    job["metadata"]["finalizers"] = ["example.com/mine"]
    kube.create(job)
    kube.wait_for(lambda: kube.pods_of(name), "its pod")
    (pod,) = kube.pods_of(name)
    try:
        kube.delete("jobs", name, propagation="Orphan")
        kube.wait_for(
            lambda: not kube.get("pods", pod["metadata"]["name"])["metadata"].get("ownerReferences"), "an orphan"
        )
        kube.wait_for(lambda: kube.get("jobs", name)["metadata"]["finalizers"] == ["example.com/mine"], "its finalizer")
        kube.patch("jobs", name, {"metadata": {"finalizers": None}}, kind="merge")
        gone = httpx.codes.NOT_FOUND
        kube.wait_for(lambda: kube.request("GET", kube.path("jobs", name)).status_code == gone, "the end of the Job")
        assert [p["metadata"]["uid"] for p in kube.pods_of(name)] == [pod["metadata"]["uid"]]
    finally:
        for pod in kube.pods_of(name):
            kube.delete("pods", pod["metadata"]["name"])


def test_a_namespace_is_deleted_with_its_custom_objects(target: Target, probes: Custom, namespace: str) -> None:
    probes.create("inside", namespace=namespace)
    target.kube.delete("namespaces", namespace, grace=None, propagation=None)

    def is_gone() -> bool:
        items = probes.request("GET", namespace="").json()["items"]
        return namespace not in [i["metadata"]["namespace"] for i in items]

    target.kube.wait_for(is_gone, "the end of the custom object")


def test_objects_are_deleted_with_their_definition(establish: Establish) -> None:
    custom = establish("sparks", "Spark")
    for index in range(3):
        custom.create(f"s{index}")
    follower = watch(custom)
    try:
        follower.wait_for(lambda f: len(events(f)) == 3, "the objects")
        answer = custom.kube.request("DELETE", f"{DEFINITIONS}/{custom.name}").json()
        assert answer["kind"] == "CustomResourceDefinition" and answer["metadata"]["deletionTimestamp"]
        assert answer["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
        assert "Terminating" in [c["type"] for c in answer["status"]["conditions"]]
        follower.wait_for(lambda f: {("DELETED", f"s{i}") for i in range(3)} <= set(events(f)), "their deletion")
        custom.kube.wait_for(lambda: follower.ended, "the end of the watch")
    finally:
        follower.close()
    gone = httpx.codes.NOT_FOUND
    custom.kube.wait_for(lambda: custom.request("GET").status_code == gone, "the end of the resource")
    custom.kube.wait_for(
        lambda: custom.kube.request("GET", f"/apis/{custom.group}").status_code == gone, "the end of the group"
    )
    custom.establish()
    assert custom.request("GET").json()["items"] == []


def test_a_definition_that_is_deleted_takes_no_objects(establish: Establish) -> None:
    custom = establish("embers", "Ember")
    held = custom.obj("held")
    held["metadata"]["finalizers"] = ["example.com/mine"]
    assert custom.request("POST", json=held).is_success
    custom.kube.request("DELETE", f"{DEFINITIONS}/{custom.name}")
    try:

        def refusal() -> httpx.Response | None:
            # A real API server learns of the deletion a moment later; a dry run leaves no object until then.
            answer = custom.request("POST", json=custom.obj("late"), params={"dryRun": "All"})
            return None if answer.is_success else answer

        answer = custom.kube.wait_for(refusal, "a refusal")
        text = "create not allowed while custom resource definition is terminating"
        assert status(answer) == (405, "MethodNotAllowed", text)
        assert answer.json()["details"] == {"group": custom.group, "kind": "embers"}
        assert status(custom.request("POST", json={})) == (405, "MethodNotAllowed", text)
        assert custom.patch("held", {"spec": {"x": 1}}).is_success
    finally:
        custom.patch("held", {"metadata": {"finalizers": None}})
    custom.kube.wait_for(lambda: custom.definition().status_code == httpx.codes.NOT_FOUND, "its end", timeout=180)


def test_a_definition_with_finalizers_waits_for_them(establish: Establish) -> None:
    custom = establish("flames", "Flame")
    custom.change({"metadata": {"finalizers": ["example.com/mine"]}})
    custom.create("a")
    marked = custom.kube.request("DELETE", f"{DEFINITIONS}/{custom.name}").json()
    cleanup = "customresourcecleanup.apiextensions.k8s.io"
    assert marked["metadata"]["finalizers"] == ["example.com/mine", cleanup]

    def remaining() -> list[str]:
        finalizers: list[str] = custom.definition().json()["metadata"]["finalizers"]
        return finalizers

    custom.kube.wait_for(lambda: cleanup not in remaining(), "the end of the objects")
    assert remaining() == ["example.com/mine"] and custom.request("GET").json()["items"] == []
    (terminating,) = (c for c in custom.definition().json()["status"]["conditions"] if c["type"] == "Terminating")
    assert (terminating["status"], terminating["reason"]) == ("False", "InstanceDeletionCompleted")
    assert custom.change({"metadata": {"finalizers": None}}).is_success
    assert custom.definition().status_code == httpx.codes.NOT_FOUND
