"""Chunked lists: all chunks show the list at the time of the first request."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.kube import python_pod

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Target

Object = dict[str, Any]


@pytest.fixture(scope="module")
def namespace(target: Target) -> Iterator[str]:
    """Create a namespace of five pods that never change."""
    name = f"lists-{uuid.uuid4().hex[:6]}"
    target.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    if target.real:
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        target.kube.wait_for(lambda: target.kube.request("GET", account).json().get("secrets"), "the service account")
    for letter in "abcde":
        target.kube.create(_idle(letter, name))
    yield name
    target.kube.delete("namespaces", name)


def _idle(name: str, namespace: str) -> Object:
    """Return a pod that stays Pending, because its scheduler does not exist."""
    pod = python_pod(name, "", namespace=namespace, schedulerName="no-such-scheduler")
    pod["metadata"]["labels"] = {"set": "idle"}
    return pod


@pytest.fixture
def list_pods(target: Target, namespace: str) -> Callable[..., httpx.Response]:
    """Return a function that lists the namespace's pods."""

    def request(**query: Any) -> httpx.Response:
        query = {k.removesuffix("_"): v for k, v in query.items()}
        response: httpx.Response = target.kube.request("GET", target.kube.path("pods", "", namespace), params=query)
        return response

    return request


def _names(document: Object) -> list[str]:
    return [item["metadata"]["name"] for item in document["items"]]


def test_chunks_continue_the_list(list_pods: Callable[..., httpx.Response]) -> None:
    first = list_pods(limit=2).json()
    assert _names(first) == ["a", "b"] and first["metadata"]["remainingItemCount"] == 3
    second = list_pods(limit=2, continue_=first["metadata"]["continue"]).json()
    assert _names(second) == ["c", "d"] and second["metadata"]["remainingItemCount"] == 1
    third = list_pods(limit=2, continue_=second["metadata"]["continue"]).json()
    assert _names(third) == ["e"]
    assert not third["metadata"].get("continue") and "remainingItemCount" not in third["metadata"]
    versions = {document["metadata"]["resourceVersion"] for document in (first, second, third)}
    assert len(versions) == 1


def test_a_list_with_a_selector_has_no_remaining_count(list_pods: Callable[..., httpx.Response]) -> None:
    meta = list_pods(limit=2, labelSelector="set=idle").json()["metadata"]
    assert meta["continue"] and "remainingItemCount" not in meta


def test_later_chunks_show_the_version_of_the_first(
    target: Target, namespace: str, list_pods: Callable[..., httpx.Response]
) -> None:
    first = list_pods(limit=2).json()
    target.kube.delete("pods", "b", namespace)
    target.kube.delete("pods", "d", namespace)
    target.kube.create(_idle("aa", namespace))
    target.kube.patch("pods", "e", {"metadata": {"annotations": {"new": "yes"}}}, namespace=namespace)
    try:
        rest = list_pods(continue_=first["metadata"]["continue"]).json()
        assert _names(rest) == ["c", "d", "e"]
        assert "new" not in rest["items"][-1]["metadata"].get("annotations", {})
        assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    finally:
        target.kube.delete("pods", "aa", namespace)
        for name in "bd":
            target.kube.create(_idle(name, namespace))


def test_the_watch_cache_ignores_the_limit(list_pods: Callable[..., httpx.Response]) -> None:
    document = list_pods(limit=2, resourceVersion="0").json()
    # In 1.20 the watch cache returns the pods in no order.
    assert sorted(_names(document)) == list("abcde") and not document["metadata"].get("continue")


def test_a_continue_token_cannot_be_combined_with_a_version(list_pods: Callable[..., httpx.Response]) -> None:
    first = list_pods(limit=2).json()["metadata"]
    answer = list_pods(continue_=first["continue"], resourceVersion=first["resourceVersion"])
    assert answer.status_code == httpx.codes.BAD_REQUEST
    assert "specifying resource version is not allowed when using continue" in answer.json()["message"]


def test_invalid_continue_token(list_pods: Callable[..., httpx.Response]) -> None:
    answer = list_pods(continue_="bm9uZQ")
    assert answer.status_code == httpx.codes.BAD_REQUEST and answer.json()["reason"] == "BadRequest"
    assert answer.json()["message"].startswith("invalid continue token: continue key is not valid: ")


def test_an_expired_continue_token_is_a_410_with_a_token_for_the_current_list(
    target: Target, list_pods: Callable[..., httpx.Response]
) -> None:
    if target.real:
        pytest.skip("a real API server drops old versions only when etcd is compacted, every 5 minutes")
    token = list_pods(limit=2).json()["metadata"]["continue"]
    target.kube.create(_idle("other", "default"))
    target.kube.request("POST", "/sandbox/faults", json={"kind": "expire"})
    target.kube.delete("pods", "other", "default")
    answer = list_pods(limit=2, continue_=token)
    status = answer.json()
    assert (answer.status_code, status["code"], status["reason"]) == (410, 410, "Expired")
    assert status["message"].startswith(
        "The provided continue parameter is too old to display a consistent list result."
    )
    rest = list_pods(continue_=status["metadata"]["continue"]).json()
    assert _names(rest) == ["c", "d", "e"]
