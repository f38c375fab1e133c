"""Our label selectors match the same objects as the API server's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.kube import KubeError, python_pod

from cortex_jupyter.cluster.labels import label_matcher
from cortex_jupyter.errors import BadQuery

if TYPE_CHECKING:
    from conftest import Target


LABELS: list[dict[str, str]] = [
    {},
    {"app": "a"},
    {"app": "b", "example.org/tier": "x"},
    {"app": "", "n": "12"},
    {"n": "9"},
]
SELECTORS = [
    "app=a",
    "app==a",
    "app!=a",
    "app",
    "!app",
    "app in (a,b)",
    "app in (a, )",
    "app notin (a)",
    "app=",
    "app!=",
    "app=a,n",
    "app,!n",
    "example.org/tier=x",
    "example.org/tier",
    "app in (a, b),example.org/tier notin (x)",
    "n>9",
    "n<10",
]
WRONG = ["app=a b", "app in a", "=a", "app=(a", "app in (a", "!app=a", "app,,n", "-app", "app=-a", "n>x"]


@pytest.fixture
def pods(target: Target, unique: Any) -> Any:
    """Create unschedulable pods with the labels of the table and a unique tag."""
    tag = unique("labels")
    names = {}
    for i, labels in enumerate(LABELS):
        pod = python_pod(f"{tag}-{i}", "", nodeSelector={"no": "such-node"})
        pod["metadata"]["labels"] = labels | {"tag": tag}
        target.kube.create(pod)
        names[pod["metadata"]["name"]] = pod["metadata"]["labels"]
    yield tag, names
    for name in names:
        target.kube.delete("pods", name)


def test_selectors_match_as_on_the_server(target: Target, pods: Any) -> None:
    tag, names = pods
    for selector in SELECTORS:
        if not target.real and set("<>") & set(selector):
            continue  # the sandbox does not support these
        items = target.kube.list("pods", labelSelector=f"{selector},tag={tag}")["items"]
        matches = label_matcher(selector)
        ours = {name for name, labels in names.items() if matches(labels)}
        assert ours == {item["metadata"]["name"] for item in items}, selector


@pytest.mark.parametrize("selector", WRONG)
def test_invalid_selectors_are_refused_as_on_the_server(target: Target, selector: str) -> None:
    if target.real:  # the sandbox is more tolerant
        with pytest.raises(KubeError):
            target.kube.list("pods", labelSelector=selector)
    with pytest.raises(BadQuery):
        label_matcher(selector)
