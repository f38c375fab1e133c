"""Errors as the API server words them: exact `Status` objects.

The texts are those of `staging/src/k8s.io/apimachinery/pkg/api/errors/errors.go` in
kubernetes/kubernetes, compared with a running 1.20.2 by `tests/conformance`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

#: `reason` of a Status for each HTTP code where the API server sets one.
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class ApiError(Exception):
    """An answer other than success.

    Parameters
    ----------
    code : int
        HTTP status.
    message : str
        Text for people, exactly as Kubernetes words it.
    reason : str, optional
        Machine-readable reason; follows from `code` unless given.
    details : dict, optional
        `details` of the Status.
    headers : dict of str, optional
        Extra HTTP headers, such as `Retry-After`.
    metadata : dict, optional
        `metadata` of the Status.
    plain : bool
        Sent as text and not as a Status.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str | None = None,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        metadata: dict[str, Any] | None = None,
        plain: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = REASONS.get(code, HTTPStatus(code).phrase.replace(" ", "")) if reason is None else reason
        self.details = details
        self.headers = headers or {}
        self.metadata = metadata or {}
        self.plain = plain

    @property
    def body(self) -> dict[str, Any]:
        """The Status object to send."""
        body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        return body | {"code": self.code}


def bad_request(message: str) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, message)


def not_found(plural: str, name: str, group: str = "") -> ApiError:
    """404: no object of that name."""
    details = {"name": name, "group": group, "kind": plural} if group else {"name": name, "kind": plural}
    qualified = f"{plural}.{group}" if group else plural
    return ApiError(404, f'{qualified} "{name}" not found', details=details)


def no_such_resource() -> ApiError:
    """404: no such path at all."""
    return ApiError(404, "the server could not find the requested resource", details={})


def already_exists(plural: str, name: str, group: str = "") -> ApiError:
    """409: the name is taken."""
    qualified = f"{plural}.{group}" if group else plural
    return ApiError(
        409, f'{qualified} "{name}" already exists', reason="AlreadyExists", details={"name": name, "kind": plural}
    )


def conflict(plural: str, name: str) -> ApiError:
    """409: the object was changed in between."""
    text = f'Operation cannot be fulfilled on {plural} "{name}": the object has been modified; please apply your changes to the latest version and try again'
    return ApiError(409, text, details={"name": name, "kind": plural})


def expired(wanted: int, oldest: int) -> ApiError:
    """410: a watch asks for a version that is no longer held."""
    return ApiError(410, f"too old resource version: {wanted} ({oldest})")


def continue_expired(token: str) -> ApiError:
    """410: the version of a continue token is no longer held.

    `token` continues at the same place in the list as it is now (`handleCompactedErrorForPaging` in
    `staging/src/k8s.io/apiserver/pkg/storage/etcd3/errors.go`).
    """
    text = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
        "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
        "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
        "deleted between the time the first chunk was returned and now may show up in the list."
    )
    return ApiError(410, text, metadata={"continue": token})


def invalid(kind: str, name: str, field: str, problem: str, cause: str = "FieldValueInvalid") -> ApiError:
    """422: one field is wrong."""
    details = {"name": name, "kind": kind, "causes": [{"reason": cause, "message": problem, "field": field}]}
    return ApiError(422, f'{kind} "{name}" is invalid: {field}: {problem}', details=details)


def success(plural: str, name: str, uid: str) -> dict[str, Any]:
    """Give what a DELETE of something that is gone at once answers."""
    details = {"name": name, "kind": plural, "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def failure(code: int, text: str = "", retry_after: float | None = None) -> ApiError:
    """Return the answer of an API server in trouble, as it is on the wire.

    Parameters
    ----------
    code : int
        429 is that of a server that is too busy, text and no Status (`tooManyRequests` in
        `staging/src/k8s.io/apiserver/pkg/server/filters/maxinflight.go`); 500 that of an etcd that does not answer
        (`ErrorToAPIStatus` gives an error it does not know no reason); 503 that of a node that cannot be reached
        (`staging/src/k8s.io/apimachinery/pkg/util/proxy`); 504 that of a request that takes longer than the server
        allows (`WithTimeoutForNonLongRunningRequests`). 410 is `Expired`.
    text : str, optional
        Another text than theirs.
    retry_after : float, optional
        Seconds; 1 for 429.
    """
    known = {
        410: "too old resource version: 1 (2)",
        429: "Too many requests, please try again later.",
        500: "etcdserver: request timed out",
        503: "error trying to reach service: dial tcp 127.0.0.1:10250: connect: connection refused",
        504: "Timeout: request did not complete within the allotted timeout",
    }
    after = 1 if retry_after is None and code == HTTPStatus.TOO_MANY_REQUESTS else retry_after
    return ApiError(
        code,
        text or known.get(code, HTTPStatus(code).phrase),
        reason="" if code == HTTPStatus.INTERNAL_SERVER_ERROR else None,
        details={} if code == HTTPStatus.GATEWAY_TIMEOUT else None,
        headers={} if after is None else {"Retry-After": f"{after:g}"},
        plain=code == HTTPStatus.TOO_MANY_REQUESTS,
    )
