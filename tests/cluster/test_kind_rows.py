"""Rows of a user about kinds, which replace or extend the built-in ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cortex_jupyter.cluster import kinds
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.recorder.collector.manifests import InstallOptions, manifests

if TYPE_CHECKING:
    from pathlib import Path

FILE = """
- name: Experiment.lab.example.org
  labels:
    lab.example.org/experiment: metadata.name
    lab.example.org/pool: [status.pool, status.nextPool]
  role: lab.example.org/role
  rank: [lab.example.org/group, lab.example.org/index]
  attempt: [lab.example.org/try]
  states:
    - [succeeded, {Done: True, status.stage: 4}]
    - [failed, {status.stage: broken}]
    - [suspended, {spec.hold: true}]
  reason: [status.why]
  source: our own operator
- name: rayjob.ray.io
  ends: false
"""


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kinds.yaml").write_text(FILE)
    monkeypatch.setenv("CORTEX_KINDS", str(tmp_path / "kinds.yaml"))


@pytest.mark.usefixtures("rows")
def test_a_row_of_a_user_counts_like_a_built_in_one() -> None:
    row = kinds.kind_of("experiment.lab.example.org")

    def state(status: dict[str, Any], **spec: Any) -> tuple[str, str]:
        state = kinds.object_state(row, {"metadata": {}, "spec": spec, "status": status})
        return state.name, state.reason

    done = [{"type": "Done", "status": "True", "reason": "AllDone"}]
    assert state({"conditions": done, "stage": 4}) == ("succeeded", "AllDone")
    assert state({"conditions": done, "stage": 3}) == ("", "")
    assert state({"stage": "broken", "why": "NoDisk"}) == ("failed", "NoDisk")
    assert state({}, hold=True) == ("suspended", "")
    labels = {f"lab.example.org/{k}": v for k, v in {"role": "ps", "group": "1", "index": "2", "try": "3"}.items()}
    assert kinds.membership(row.name, {"metadata": {"labels": labels}}) == ("ps", "1-2", "3")
    obj = {"metadata": {"name": "x", "namespace": "ml"}, "status": {"pool": "a", "nextPool": "b"}}
    assert kinds.own_labels(row, obj) == [
        ("lab.example.org/experiment", "x"),
        ("lab.example.org/pool", "a"),
        ("lab.example.org/pool", "b"),
    ]
    pod = {"metadata": {"namespace": "ml", "labels": {"lab.example.org/pool": "b", "app": "y"}}}
    assert kinds.label_keys(pod) == ["ml/lab.example.org/pool=b"]
    assert "lab.example.org" in kinds.groups() and row.plural == "experiments"


@pytest.mark.usefixtures("rows")
def test_a_row_of_a_user_replaces_the_built_in_one() -> None:
    assert not kinds.ends_by_itself("rayjob.ray.io") and kinds.ends_by_itself("trainjob.trainer.kubeflow.org")
    assert kinds.TABLE["rayjob.ray.io"].ends


@pytest.mark.usefixtures("rows")
def test_a_collector_gets_the_rows_and_the_rights() -> None:
    documents = list(yaml.safe_load_all(manifests(InstallOptions("logs"))))
    (rules,) = [document["rules"] for document in documents if document["kind"] == "ClusterRole"]
    assert any("lab.example.org" in rule["apiGroups"] and "experiments" in rule["resources"] for rule in rules)
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    env = {e["name"]: e.get("value") for e in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert json.loads(env["CORTEX_KINDS"]) == yaml.safe_load(FILE)


def test_rows_may_stand_in_the_setting_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"name": "experiment.lab.example.org", "states": [("succeeded", {"status.stage": 4})], "labels": {}}
    monkeypatch.setenv("CORTEX_KINDS", kinds.as_setting([row]))
    assert kinds.kind_of("experiment.lab.example.org").states == (("succeeded", {"status.stage": 4}),)


NAME = {"name": "experiment.lab.example.org"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("/no/such/file.yaml", r"/no/such/file.yaml cannot be read: .*No such file"),
        ("[{", "CORTEX_KINDS is neither YAML nor JSON"),
        ('{"name": "x.y"}', "CORTEX_KINDS holds no list of rows"),
        ("[7]", "row 1 of CORTEX_KINDS: it is no mapping"),
        ("[{}]", "`name` must be KIND.GROUP"),
        ('[{"name": "experiment"}]', "`name` must be KIND.GROUP"),
        (
            json.dumps([NAME, NAME | {"rolle": []}]),
            r"row 2 of CORTEX_KINDS \(experiment.lab.example.org\): .*'rolle'; did you mean 'role'",
        ),
        (json.dumps([NAME | {"plural": "x"}]), "there is no field 'plural'"),
        (json.dumps([NAME | {"rank": [3]}]), "`rank` must be a list of labels"),
        (json.dumps([NAME | {"reason": {}}]), "`reason` must be a list of paths"),
        (json.dumps([NAME | {"labels": ["x"]}]), "`labels` must be a mapping"),
        (json.dumps([NAME | {"labels": {"x": 3}}]), "`labels` must be a mapping"),
        (json.dumps([NAME | {"states": {"succeeded": {}}}]), "`states` must be a list of"),
        (json.dumps([NAME | {"states": [["done", {"status.x": 1}]]}]), "states succeeded, failed, ended, suspended"),
        (json.dumps([NAME | {"states": [["failed", {"status.x": [1]}]]}]), "`states` must be a list of"),
        (json.dumps([NAME | {"states": [["failed", {}]]}]), "`states` must be a list of"),
        (json.dumps([NAME | {"ends": "no"}]), "`ends` must be true or false"),
    ],
)
def test_a_bad_row_is_an_error_that_names_it(setting: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEX_KINDS", setting)
    with pytest.raises(BadQuery, match=message) as raised:
        kinds.table()
    assert raised.value.hint


@pytest.mark.parametrize(
    ("kind", "plural"),
    [
        ("experiment", "experiments"),
        ("search", "searches"),
        ("study", "studies"),
        ("relay", "relays"),
        ("class", "classes"),
    ],
)
def test_regular_plurals(kind: str, plural: str) -> None:
    assert kinds.Kind(f"{kind}.example.org").plural == plural
