"""Lists and watches: a client that keeps its place misses nothing."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from support.kube import python_pod


def events(follower: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in follower.lines]


def kinds(follower: Any, name: str) -> list[str]:
    """Return the types of the events about one object."""
    return [e["type"] for e in events(follower) if e["object"]["metadata"].get("name") == name]


def idle(name: str, **labels: str) -> dict[str, Any]:
    """Return a pod that never leaves Pending, so that nothing but the test changes it."""
    pod = python_pod(name, "", nodeSelector={"no": "such-node"})
    pod["metadata"]["labels"] = labels
    return pod


def test_watch_from_a_list_misses_nothing(target: Any, made: Any) -> None:
    version = target.kube.list("pods")["metadata"]["resourceVersion"]
    name = made(idle("after-list"))
    with target.kube.watching("pods", resourceVersion=version, fieldSelector=f"metadata.name={name}") as watch:
        watch.wait_for(lambda w: "ADDED" in kinds(w, name), "ADDED")


def test_watch_without_version_begins_with_what_is_there(target: Any, made: Any) -> None:
    name = made(idle("there"))
    with target.kube.watching("pods") as watch:
        watch.wait_for(lambda w: kinds(w, name)[:1] == ["ADDED"], "ADDED")


def test_resume_from_the_version_of_an_event(target: Any, made: Any) -> None:
    name = made(idle("resume", step="0"))
    chosen = {"fieldSelector": f"metadata.name={name}"}
    with target.kube.watching("pods", **chosen) as watch:
        first = watch.wait_for(events, "an event")[0]
    target.kube.patch("pods", name, {"metadata": {"labels": {"step": "1"}}})
    version = first["object"]["metadata"]["resourceVersion"]
    with target.kube.watching("pods", resourceVersion=version, **chosen) as watch:
        watch.wait_for(lambda w: any(e["object"]["metadata"]["labels"]["step"] == "1" for e in events(w)), "the change")
        assert all(e["type"] == "MODIFIED" for e in events(watch))


def test_leaving_the_selection_is_a_deletion(target: Any, made: Any) -> None:
    name = made(idle("label", app="cortex-test"))
    with target.kube.watching("pods", labelSelector="app=cortex-test") as watch:
        watch.wait_for(lambda w: "ADDED" in kinds(w, name), "ADDED")
        target.kube.patch("pods", name, {"metadata": {"labels": {"app": "other"}}})
        watch.wait_for(lambda w: kinds(w, name)[-1:] == ["DELETED"], "DELETED")


def test_deletion_has_a_newer_version(target: Any, made: Any) -> None:
    name = made(idle("delete"))
    with target.kube.watching("pods", fieldSelector=f"metadata.name={name}") as watch:
        watch.wait_for(lambda w: "ADDED" in kinds(w, name), "ADDED")
        target.kube.delete("pods", name)
        watch.wait_for(lambda w: kinds(w, name)[-1:] == ["DELETED"], "DELETED")
        versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in events(watch)]
    assert versions == sorted(versions) and len(set(versions)) == len(versions)


def test_watch_ends_cleanly_at_its_timeout(target: Any) -> None:
    with target.kube.watching("pods", timeoutSeconds=1) as watch:
        watch.join()
        assert watch.error is None


def test_bookmarks_carry_a_version_and_nothing_else(target: Any, made: Any) -> None:
    made(idle("bookmark"))
    # A server owes a watch no bookmark: one that is busy leaves out the one shortly before the timeout.
    for i in range(4):
        version = target.kube.list("pods")["metadata"]["resourceVersion"]
        with target.kube.watching(
            "pods", resourceVersion=version, allowWatchBookmarks="true", timeoutSeconds=8
        ) as watch:
            made(idle(f"news{i}"))
            mark = watch.wait_for(lambda w: [e for e in events(w) if e["type"] == "BOOKMARK"] or w.ended, "a bookmark")
        if mark is not True:
            break
    assert mark is not True, f"no bookmark among {[e['type'] for e in events(watch)]}"
    found = mark[0]["object"]
    assert found["kind"] == "Pod" and int(found["metadata"]["resourceVersion"]) > int(version)
    assert "name" not in found["metadata"]


def test_expired_version_is_a_410_inside_the_stream(target: Any, made: Any) -> None:
    if target.real:
        pytest.skip("a real API server forgets versions only when etcd is compacted, every 5 minutes")
    made(idle("expire"))
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


def test_version_that_is_none(target: Any) -> None:
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
def test_label_selectors(target: Any, made: Any, selector: str, expected: set[str]) -> None:
    tag = f"t{id(object())}"
    names = {
        made(idle(label, tag=tag, **({} if label == "none" else {"tier": label}))): label
        for label in ("a", "b", "none")
    }
    items = target.kube.list("pods", labelSelector=f"{selector},tag={tag}")["items"]
    assert {names[p["metadata"]["name"]] for p in items} == expected


def test_pages(target: Any, made: Any) -> None:
    for _ in range(3):
        made(idle("page", set="pages"))
    chosen = {"labelSelector": "set=pages"}
    first = target.kube.list("pods", limit=2, **chosen)
    token = first["metadata"]["continue"]
    second = target.kube.list("pods", limit=2, **chosen, **{"continue": token})
    assert (len(first["items"]), len(second["items"])) == (2, 1) and not second["metadata"].get("continue")
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]
