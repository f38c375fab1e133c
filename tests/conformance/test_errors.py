"""Codes and texts of the errors that answer a request for a log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.kube import python_pod

if TYPE_CHECKING:
    from conformance.conftest import Specimens
    from conftest import Target


def status(response: httpx.Response) -> tuple[int, str, str]:
    """Check that a response is a Status object; return its code, reason and message."""
    body = response.json()
    assert body["kind"] == "Status" and body["apiVersion"] == "v1" and body["status"] == "Failure"
    assert body["code"] == response.status_code
    assert response.headers["Content-Type"] == "application/json"
    return body["code"], body.get("reason", ""), body["message"]


def test_missing_pod(target: Target) -> None:
    expected = (404, "NotFound", 'pods "nobody" not found')
    assert status(target.kube.log("nobody")) == expected
    assert status(target.kube.request("GET", target.kube.path("pods", "nobody"))) == expected


def test_missing_object_of_a_group_is_qualified(target: Target) -> None:
    response = target.kube.request("GET", target.kube.path("jobs", "nobody"))
    assert status(response) == (404, "NotFound", 'jobs.batch "nobody" not found')
    assert response.json()["details"] == {"name": "nobody", "group": "batch", "kind": "jobs"}


def test_missing_resource(target: Target) -> None:
    expected = (404, "NotFound", "the server could not find the requested resource")
    assert status(target.kube.request("GET", "/api/v1/nothings")) == expected


def test_wrong_token(target: Target) -> None:
    kube = target.kube
    verify = kube.tls
    if target.real:  # without the client certificate, which would be accepted with any token
        verify = httpx.create_ssl_context(verify=False)
    with httpx.Client(verify=verify) as client:
        response = client.get(kube.server + "/api/v1/pods", headers={"Authorization": "Bearer wrong"})
    assert status(response) == (401, "Unauthorized", "Unauthorized")


def test_name_already_exists(target: Target, specimens: Specimens) -> None:
    name = specimens.names["text"]
    response = target.kube.request("POST", target.kube.path("pods"), json=python_pod(name, ""))
    assert status(response) == (409, "AlreadyExists", f'pods "{name}" already exists')


@pytest.mark.parametrize(
    ("query", "code", "reason", "text"),
    [
        ({"tailLines": "-1"}, 422, "Invalid", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ({"limitBytes": "0"}, 422, "Invalid", "limitBytes: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": "0"}, 422, "Invalid", "sinceSeconds: Invalid value: 0: must be greater than 0"),
        (
            {"sinceSeconds": "5", "sinceTime": "2026-01-01T00:00:00Z"},
            422,
            "Invalid",
            "[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
        ({"tailLines": "many"}, 400, "BadRequest", 'strconv.ParseInt: parsing "many": invalid syntax'),
        (
            {"sinceTime": "yesterday"},
            400,
            "BadRequest",
            'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
        ),
    ],
)
def test_options_are_validated_before_the_pod_is_looked_up(
    target: Target, query: dict[str, str], code: int, reason: str, text: str
) -> None:
    message = f'PodLogOptions "nobody" is invalid: {text}' if code == httpx.codes.UNPROCESSABLE_ENTITY else text
    response = target.kube.log("nobody", **query)
    assert status(response) == (code, reason, message)
    if code == httpx.codes.UNPROCESSABLE_ENTITY:
        (cause,) = response.json()["details"]["causes"]
        assert f"{cause['field']}: {cause['message']}" == text


def test_bad_selectors(target: Target) -> None:
    path = target.kube.path("pods")
    response = target.kube.request("GET", path, params={"fieldSelector": "spec.color=red"})
    assert status(response) == (400, "BadRequest", "field label not supported: spec.color")
    code, reason, text = status(target.kube.request("GET", path, params={"labelSelector": "a==="}))
    assert (code, reason) == (400, "BadRequest") and text.startswith("unable to parse requirement: ")


def test_several_containers_need_a_name(target: Target, specimens: Specimens) -> None:
    name = specimens.names["two"]
    text = f"a container name must be specified for pod {name}, choose one of: [prepare main aside]"
    assert status(target.kube.log(name)) == (400, "BadRequest", text)


def test_one_container_needs_no_name_despite_init_containers(target: Target, specimens: Specimens) -> None:
    specimens.wait_waiting("initializing", "PodInitializing")
    code, _, text = status(target.kube.log(specimens.names["initializing"]))
    assert code == httpx.codes.BAD_REQUEST and 'container "main" in pod' in text


def test_wrong_container(target: Target, specimens: Specimens) -> None:
    name = specimens.names["two"]
    assert status(target.kube.log(name, container="nope")) == (
        400,
        "BadRequest",
        f"container nope is not valid for pod {name}",
    )


def test_waiting_for_init_containers(target: Target, specimens: Specimens) -> None:
    specimens.wait_waiting("initializing", "PodInitializing")
    name = specimens.names["initializing"]
    expected = f'container "main" in pod "{name}" is waiting to start: PodInitializing'
    assert status(target.kube.log(name)) == (400, "BadRequest", expected)


def test_image_that_must_not_be_pulled(target: Target, specimens: Specimens) -> None:
    pod = specimens.wait_waiting("missing", "ErrImageNeverPull")
    (state,) = pod["status"]["containerStatuses"]
    assert pod["status"]["phase"] == "Pending"
    message = 'Container image "docker.io/local/missing:1" is not present with pull policy of Never'
    assert state["state"]["waiting"] == {"reason": "ErrImageNeverPull", "message": message}
    name = specimens.names["missing"]
    expected = f'container "main" in pod "{name}" is waiting to start: ErrImageNeverPull'
    assert status(target.kube.log(name)) == (400, "BadRequest", expected)


def test_image_that_cannot_be_pulled(target: Target, specimens: Specimens) -> None:
    name = specimens.names["pull"]
    texts = {"ErrImagePull": "image can't be pulled", "ImagePullBackOff": "trying and failing to pull image"}
    for reason in texts:
        specimens.wait_waiting("pull", reason)
    # The two reasons alternate, so either text is right.
    answer = status(target.kube.log(name))
    assert answer in [
        (400, "BadRequest", f'container "main" in pod "{name}" is waiting to start: {text}') for text in texts.values()
    ]


def test_back_off_message(target: Target, specimens: Specimens) -> None:
    pod = specimens.wait_waiting("pull", "ImagePullBackOff")
    (state,) = pod["status"]["containerStatuses"]
    assert state["state"]["waiting"]["message"].startswith('Back-off pulling image "docker.io/local/missing:1"')


def test_unscheduled_pod_answers_204_without_a_body(target: Target, specimens: Specimens) -> None:
    name = specimens.names["unschedulable"]

    def unschedulable(pod: dict[str, Any]) -> bool:
        conditions = pod["status"].get("conditions") or []
        return any(c["type"] == "PodScheduled" and c["status"] == "False" for c in conditions)

    pod = target.kube.wait_pod(name, unschedulable)
    (condition,) = pod["status"]["conditions"]
    assert condition["reason"] == "Unschedulable"
    assert condition["message"].startswith("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity")
    for query in ({}, {"follow": "true"}):
        response = target.kube.log(name, **query)
        assert (response.status_code, response.content) == (204, b"")


def test_no_previous_run(target: Target, specimens: Specimens) -> None:
    specimens.wait_ended("text")
    name = specimens.names["text"]
    expected = f'previous terminated container "main" in pod "{name}" not found'
    assert status(target.kube.log(name, previous="true")) == (400, "BadRequest", expected)


def test_unknown_parameters_are_ignored(target: Target, specimens: Specimens) -> None:
    specimens.wait_ended("text")
    assert target.kube.log(specimens.names["text"], colour="red", tailLines=1).status_code == httpx.codes.OK
