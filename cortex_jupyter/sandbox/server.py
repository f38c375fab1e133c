"""The HTTP application: authentication, authorization, request faults and routing.

kubectl sends no credentials over plain HTTP (client-go `tools/clientcmd/client_config.go` reads them only
"if we are secure"). The address in the kubeconfig therefore ends in a secret path, as the address of a cluster
behind a proxy does (`https://hub/k8s/clusters/ID`). A request on that path needs no token. A wrong token is
refused on any path.
"""

from __future__ import annotations

import asyncio
import gzip
import hmac
from typing import TYPE_CHECKING, Any

from aiohttp import web

from cortex_jupyter.sandbox import discovery, logs, status
from cortex_jupyter.sandbox.api import VERBS, Api, answer, parse_path, read_body
from cortex_jupyter.sandbox.faults import ACTIONS
from cortex_jupyter.sandbox.resources import qualify
from cortex_jupyter.sandbox.status import ApiError

if TYPE_CHECKING:
    from cortex_jupyter.sandbox.kubelet import Kubelet

#: The API server compresses larger answers (size in bytes; `defaultGzipThresholdBytes` in kubernetes/kubernetes,
#: `staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/writers.go`). It never compresses logs or watches.
GZIP_BYTES = 128 * 1024
#: The default user, as refusals name it.
USER = "sandbox"
_REVIEWS = tuple(f"/apis/authorization.k8s.io/v1/{kind}accessreviews" for kind in ("selfsubject", "subject"))


async def _compressed(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Compress an answer as the API server does: objects of more than 128 KiB, if the client accepts gzip."""
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes) or len(body) <= GZIP_BYTES or response.content_type != "application/json":
        return response
    # Like `negotiateContentEncoding` in writers.go: only the bare word counts, not "gzip;q=0.5" or "*".
    if "gzip" in (token.strip() for token in request.headers.get("Accept-Encoding", "").split(",")):
        assert isinstance(response, web.Response)
        response.body = await asyncio.to_thread(gzip.compress, body, 1)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
    return response


def _error_response(error: ApiError) -> web.Response:
    if error.plain:
        response = web.Response(text=f"{error.message}\n", status=error.code)
        response.headers["X-Content-Type-Options"] = "nosniff"
    else:
        response = answer(error.body, error.code)
    response.headers.update(error.headers)
    return response


class Server:
    """The HTTP application of the sandbox.

    Parameters
    ----------
    kubelet : Kubelet
        The node, with store, faults and settings.
    token : str
        Bearer token that clients must send; `TOKEN.NAME` authenticates as the user NAME.
    prefix : str
        The secret path, starting with `/`.
    """

    def __init__(self, kubelet: Kubelet, token: str, prefix: str) -> None:
        self._kubelet, self._faults, self._token, self._prefix = kubelet, kubelet.faults, token, prefix
        self._api = Api(kubelet.store, kubelet.faults, kubelet.config)
        #: Transports of the connections that are serving a request.
        self.busy_connections: set[object] = set()
        self.app = web.Application(client_max_size=8 * 1024 * 1024)
        self.app.router.add_route("*", "/{path:.*}", self._guard)

    async def _guard(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        self.busy_connections.add(transport)
        try:
            return await self._handle(request)
        except ApiError as error:
            return _error_response(error)
        except ConnectionError:  # the client disconnected before the first byte
            return web.Response()
        finally:
            self.busy_connections.discard(transport)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        has_prefix = request.path.startswith(f"{self._prefix}/")
        if has_prefix:
            request = request.clone(rel_url=request.rel_url.raw_path_qs.removeprefix(self._prefix))
        user = self._authenticate(request, default_to_token=has_prefix)
        if request.path.startswith("/sandbox/faults"):
            return await self._handle_faults(request)
        path = f"{request.method} {request.path_qs}"
        if self._faults.drops_connection(path) and request.transport is not None:
            request.transport.abort()
            raise ConnectionAbortedError
        self._faults.raise_for_request(path)
        return await _compressed(request, await self._route(request, user))

    def _authenticate(self, request: web.Request, *, default_to_token: bool) -> str:
        expected = f"Bearer {self._token}"
        credential, _, user = request.headers.get("Authorization", expected if default_to_token else "").partition(".")
        if not hmac.compare_digest(credential.encode(), expected.encode()):
            raise ApiError(401, "Unauthorized")
        return user or USER

    async def _route(self, request: web.Request, user: str) -> web.StreamResponse:
        path = request.path
        if path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        resources = self._kubelet.store.resources
        if (document := discovery.answer(request, resources, self._prefix)) is not None:
            return document
        if path in _REVIEWS and request.method == "POST":
            return answer(self._review(await read_body(request), user), 201)
        target = parse_path(path, resources)
        verb = VERBS.get(request.method, "")
        if not target.name and verb in ("get", "delete"):
            is_watch = request.query.get("watch", "").lower() in ("true", "1")
            verb = "deletecollection" if verb == "delete" else "watch" if is_watch else "list"
        group = target.resource.group
        who = {"name": target.name, "user": user, "api_group": group}
        if self._faults.is_denied(verb, target.permission, target.namespace, **who):
            raise self._forbidden(user, verb, target.permission, group, target.namespace, target.name)
        if target.permission == "pods/log":
            return await logs.pod_log(self._kubelet, request, target)
        if target.permission == "nodes/proxy":
            self._kubelet.store.require(target.resource, "", target.name)
            _, separator, rest = path.partition("/proxy/logs/")
            if not separator:
                raise status.no_such_resource()
            return logs.node_log(self._kubelet.root / "var/log", rest, request.headers.get("Range", ""))
        return await self._api.handle(request, target)

    @staticmethod
    def _forbidden(user: str, verb: str, permission: str, group: str, namespace: str, name: str) -> ApiError:
        plural = permission.partition("/")[0]
        kind = qualify(plural, group)
        subject = f'{kind} "{name}"' if name else kind
        scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        text = f'{subject} is forbidden: User "{user}" cannot {verb} resource "{permission}" in API group "{group}" {scope}'
        return ApiError(403, text, details={"name": name, "group": group, "kind": plural})

    def _review(self, review: dict[str, Any], user: str) -> dict[str, Any]:
        spec = review.get("spec") or {}
        attributes = spec.get("resourceAttributes") or {}
        permission = attributes.get("resource", "") + (
            f"/{attributes['subresource']}" if attributes.get("subresource") else ""
        )
        request = {
            "name": attributes.get("name", ""),
            "user": spec.get("user", user),
            "groups": spec.get("groups") or (),
            "api_group": attributes.get("group", ""),
        }
        denied = self._faults.is_denied(
            attributes.get("verb", ""), permission, attributes.get("namespace", ""), **request
        )
        return review | {
            "status": {
                "allowed": not denied,
                "reason": "" if not denied else "a `deny` fault of the sandbox forbids it",
            }
        }

    async def _handle_faults(self, request: web.Request) -> web.Response:
        fault_id = request.path.removeprefix("/sandbox/faults").strip("/")
        match request.method:
            case "GET":
                return answer({"faults": [f.as_dict() for f in self._faults.active]})
            case "DELETE":
                self._faults.remove(int(fault_id) if fault_id else None)
                return answer({"faults": [f.as_dict() for f in self._faults.active]})
            case "POST":
                fault = self._faults.add(await read_body(request))
                if fault.kind in ACTIONS:
                    await self._faults.apply(fault)
                return answer(fault.as_dict(), 201)
        raise ApiError(405, "the server does not allow this method on the requested resource", details={})
