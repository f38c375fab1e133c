"""Lists and watches: a client that continues from its resource version misses no change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.kube import python_pod

if TYPE_CHECKING:
    from conformance.conftest import Create
    from conftest import Target


def events(follower: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in follower.lines]


def kinds(follower: Any, name: str) -> list[str]:
    """Return the types of an object's events."""
    return [e["type"] for e in events(follower) if e["object"]["metadata"].get("name") == name]


def idle(name: str, **labels: str) -> dict[str, Any]:
    """Return a pod that never leaves Pending, so that only the test changes it."""
    pod = python_pod(name, "", nodeSelector={"no": "such-node"})
    pod["metadata"]["labels"] = labels
    return pod


def test_watch_from_a_list_misses_nothing(target: Target, create: Create) -> None:
    version = target.kube.list("pods")["metadata"]["resourceVersion"]
    name = create(idle("after-list"))
    with target.kube.watching("pods", resourceVersion=version, fieldSelector=f"metadata.name={name}") as watch:
        watch.wait_for(lambda w: "ADDED" in kinds(w, name), "ADDED")


def test_watch_without_version_begins_with_the_existing_objects(target: Target, create: Create) -> None:
    name = create(idle("there"))
    with target.kube.watching("pods") as watch:
        watch.wait_for(lambda w: kinds(w, name)[:1] == ["ADDED"], "ADDED")


def test_resume_from_the_version_of_an_event(target: Target, create: Create) -> None:
    name = create(idle("resume", step="0"))
    selector = {"fieldSelector": f"metadata.name={name}"}
    with target.kube.watching("pods", **selector) as watch:
        first = watch.wait_for(events, "an event")[0]
    target.kube.patch("pods", name, {"metadata": {"labels": {"step": "1"}}})
    version = first["object"]["metadata"]["resourceVersion"]
    with target.kube.watching("pods", resourceVersion=version, **selector) as watch:
        watch.wait_for(lambda w: any(e["object"]["metadata"]["labels"]["step"] == "1" for e in events(w)), "the change")
        assert all(e["type"] == "MODIFIED" for e in events(watch))


def test_an_object_that_no_longer_matches_is_deleted(target: Target, create: Create) -> None:
    name = create(idle("label", app="cortex-test"))
    with target.kube.watching("pods", labelSelector="app=cortex-test") as watch:
        watch.wait_for(lambda w: "ADDED" in kinds(w, name), "ADDED")
        target.kube.patch("pods", name, {"metadata": {"labels": {"app": "other"}}})
        watch.wait_for(lambda w: kinds(w, name)[-1:] == ["DELETED"], "DELETED")


def test_deletion_has_a_newer_version(target: Target, create: Create) -> None:
    name = create(idle("delete"))
    with target.kube.watching("pods", fieldSelector=f"metadata.name={name}") as watch:
        watch.wait_for(lambda w: "ADDED" in kinds(w, name), "ADDED")
        target.kube.delete("pods", name)
        watch.wait_for(lambda w: kinds(w, name)[-1:] == ["DELETED"], "DELETED")
        versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events(watch)]
    assert versions == sorted(versions) and len(set(versions)) == len(versions)


def test_watch_ends_cleanly_at_its_timeout(target: Target) -> None:
    with target.kube.watching("pods", timeoutSeconds=1) as watch:
        watch.join()
        assert watch.error is None


def test_bookmarks_carry_a_version_and_nothing_else(target: Target, create: Create) -> None:
    create(idle("bookmark"))
    # Bookmarks are not guaranteed: a busy server may omit the one shortly before the timeout.
    for i in range(4):
        version = target.kube.list("pods")["metadata"]["resourceVersion"]
        with target.kube.watching(
            "pods", resourceVersion=version, allowWatchBookmarks="true", timeoutSeconds=8
        ) as watch:
            create(idle(f"news{i}"))
            bookmarks = watch.wait_for(
                lambda w: [e for e in events(w) if e["type"] == "BOOKMARK"] or w.ended, "a bookmark"
            )
        if bookmarks is not True:
            break
    assert bookmarks is not True, f"no bookmark among {[e['type'] for e in events(watch)]}"
    bookmark = bookmarks[0]["object"]
    assert bookmark["kind"] == "Pod" and int(bookmark["metadata"]["resourceVersion"]) > int(version)
    assert "name" not in bookmark["metadata"]


def test_expired_version_is_a_410_inside_the_stream(target: Target, create: Create) -> None:
    if target.real:
        pytest.skip("a real API server drops old versions only when etcd is compacted, every 5 minutes")
    create(idle("expire"))
    with target.kube.watching("pods") as running:
        running.wait_for(lambda w: w.data, "the first events")
        target.kube.request("POST", "/sandbox/faults", json={"kind": "expire"})
        assert running.join() and events(running)[-1]["object"]["code"] == httpx.codes.GONE
    with target.kube.watching("pods", resourceVersion="1") as watch:
        watch.join()
        assert watch.status == httpx.codes.OK
    (event,) = events(watch)
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert event["object"]["message"].startswith("too old resource version: 1 (")


def test_invalid_version(target: Target) -> None:
    response = target.kube.request("GET", target.kube.path("pods"), params={"watch": "1", "resourceVersion": "abc"})
    assert (
        response.json()["message"]
        == 'resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax'
    )


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("tier=a", {"a"}),
        ("tier==a", {"a"}),
        ("tier!=a,tag", {"b", "none"}),
        ("tier in (a, b),tag", {"a", "b"}),
        ("tier notin (a),tag", {"b", "none"}),
        ("tag,!tier", {"none"}),
    ],
)
def test_label_selectors(target: Target, create: Create, selector: str, expected: set[str]) -> None:
    tag = f"t{id(object())}"
    names = {
        create(idle(label, tag=tag, **({} if label == "none" else {"tier": label}))): label
        for label in ("a", "b", "none")
    }
    items = target.kube.list("pods", labelSelector=f"{selector},tag={tag}")["items"]
    assert {names[p["metadata"]["name"]] for p in items} == expected


def test_chunks(target: Target, create: Create) -> None:
    for _ in range(3):
        create(idle("page", set="pages"))
    selector = {"labelSelector": "set=pages"}
    first = target.kube.list("pods", limit=2, **selector)
    token = first["metadata"]["continue"]
    second = target.kube.list("pods", limit=2, **selector, **{"continue": token})
    assert (len(first["items"]), len(second["items"])) == (2, 1) and not second["metadata"].get("continue")
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]
