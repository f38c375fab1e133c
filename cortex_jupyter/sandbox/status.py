"""Error answers: `Status` objects worded exactly as by the API server.

The texts come from `staging/src/k8s.io/apimachinery/pkg/api/errors/errors.go` in kubernetes/kubernetes;
`tests/conformance` compares them with a running 1.20.2.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from cortex_jupyter.sandbox.resources import qualify

#: `reason` of a Status for each HTTP code that has one.
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
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
    """An error answer.

    Parameters
    ----------
    code : int
        HTTP status.
    message : str
        Text, exactly as Kubernetes words it.
    reason : str, optional
        Machine-readable reason (default: the one for `code`).
    details : dict, optional
        `details` of the Status.
    headers : dict of str, optional
        Extra HTTP headers, such as `Retry-After`.
    metadata : dict, optional
        `metadata` of the Status.
    plain : bool
        Send plain text instead of a Status.
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
    """Return a 400 for a request that cannot be understood."""
    return ApiError(400, message)


def _details(name: str, group: str, kind: str) -> dict[str, Any]:
    """Return the `details` of a Status; empty fields are left out."""
    return {key: value for key, value in (("name", name), ("group", group), ("kind", kind)) if value}


def not_found(plural: str, name: str, group: str = "") -> ApiError:
    """Return the 404 for an object that does not exist."""
    return ApiError(404, f'{qualify(plural, group)} "{name}" not found', details=_details(name, group, plural))


def no_such_resource() -> ApiError:
    """Return the 404 for a path that is not served."""
    return ApiError(404, "the server could not find the requested resource", details={})


def page_not_found() -> ApiError:
    """Return the 404 for a path in a group without built-in kinds; plain text.

    No handler is registered for such a group until a CustomResourceDefinition serves it (`crdHandler` in
    `staging/src/k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go` delegates to `http.NotFound`).
    """
    return ApiError(404, "404 page not found", plain=True)


def already_exists(plural: str, name: str, group: str = "") -> ApiError:
    """Return the 409 for a name that is taken."""
    text = f'{qualify(plural, group)} "{name}" already exists'
    return ApiError(409, text, reason="AlreadyExists", details=_details(name, group, plural))


def conflict(plural: str, name: str, group: str = "") -> ApiError:
    """Return the 409 for an update of an outdated object."""
    text = f'Operation cannot be fulfilled on {qualify(plural, group)} "{name}": the object has been modified; please apply your changes to the latest version and try again'
    return ApiError(409, text, details=_details(name, group, plural))


def expired(requested: int, oldest: int) -> ApiError:
    """Return the 410 for a watch from a version that is no longer held."""
    return ApiError(410, f"too old resource version: {requested} ({oldest})")


def continue_expired(token: str) -> ApiError:
    """Return the 410 for a continue token with a version that is no longer held.

    With `token` a client can continue from the same key in the current list (`handleCompactedErrorForPaging` in
    `staging/src/k8s.io/apiserver/pkg/storage/etcd3/errors.go`).
    """
    text = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
        "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
        "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
        "deleted between the time the first chunk was returned and now may show up in the list."
    )
    return ApiError(410, text, metadata={"continue": token})


def invalid(
    kind: str, name: str, field: str, problem: str, cause: str = "FieldValueInvalid", *, group: str = ""
) -> ApiError:
    """Return the 422 for an invalid field."""
    causes = {"causes": [{"reason": cause, "message": problem, "field": field}]}
    text = f'{qualify(kind, group)} "{name}" is invalid: {field}: {problem}'
    return ApiError(422, text, details=_details(name, group, kind) | causes)


def success(plural: str, name: str, uid: str, group: str = "") -> dict[str, Any]:
    """Return the Status that answers a DELETE of an object that was removed at once."""
    details = _details(name, group, plural) | {"uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def failure(code: int, text: str = "", retry_after: float | None = None) -> ApiError:
    """Return the error that a failing API server or node answers.

    Parameters
    ----------
    code : int
        410: the version has expired. 429: the server is too busy; plain text, no Status (`tooManyRequests` in
        `staging/src/k8s.io/apiserver/pkg/server/filters/maxinflight.go`). 500: etcd does not answer
        (`ErrorToAPIStatus` sets no reason for an unknown error). 503: the node cannot be reached
        (`staging/src/k8s.io/apimachinery/pkg/util/proxy`). 504: the request took longer than the server allows
        (`WithTimeoutForNonLongRunningRequests`).
    text : str, optional
        Message that replaces the usual one.
    retry_after : float, optional
        `Retry-After` in seconds (default: 1 for 429, else none).
    """
    messages = {
        410: "too old resource version: 1 (2)",
        429: "Too many requests, please try again later.",
        500: "etcdserver: request timed out",
        503: "error trying to reach service: dial tcp 127.0.0.1:10250: connect: connection refused",
        504: "Timeout: request did not complete within the allotted timeout",
    }
    delay_s = 1 if retry_after is None and code == HTTPStatus.TOO_MANY_REQUESTS else retry_after
    return ApiError(
        code,
        text or messages.get(code, HTTPStatus(code).phrase),
        reason="" if code == HTTPStatus.INTERNAL_SERVER_ERROR else None,
        details={} if code == HTTPStatus.GATEWAY_TIMEOUT else None,
        headers={} if delay_s is None else {"Retry-After": f"{delay_s:g}"},
        plain=code == HTTPStatus.TOO_MANY_REQUESTS,
    )
