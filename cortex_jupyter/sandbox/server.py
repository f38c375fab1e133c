"""The HTTP application: who may, what goes wrong on command, and where a path leads.

kubectl sends no credentials over plain HTTP (client-go `tools/clientcmd/client_config.go` reads them only
"if we are secure"). So the address in the kubeconfig ends in a secret path, as a hub's does
(`https://hub/k8s/clusters/ID`), and lets in who shows no token; a wrong token is refused on any path.
"""

from __future__ import annotations

import asyncio
import gzip
import hmac
from typing import TYPE_CHECKING, Any

from aiohttp import web

from cortex_jupyter.sandbox import nodeproxy, status
from cortex_jupyter.sandbox.api import VERBS, Api, answer, body, target
from cortex_jupyter.sandbox.faults import ACTIONS
from cortex_jupyter.sandbox.openapi import openapi
from cortex_jupyter.sandbox.podlog import pod_log
from cortex_jupyter.sandbox.resources import discovery
from cortex_jupyter.sandbox.status import ApiError

if TYPE_CHECKING:
    from cortex_jupyter.sandbox.kubelet import Kubelet

#: Size, in bytes, above which the API server compresses: `defaultGzipThresholdBytes` in kubernetes/kubernetes,
#: `staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/writers.go`. Logs and watches never are.
GZIP_BYTES = 128 * 1024
#: The user whom the token names, in the texts of refusals.
USER = "sandbox"
_REVIEWS = tuple(f"/apis/authorization.k8s.io/v1/{kind}accessreviews" for kind in ("selfsubject", "subject"))


async def _compressed(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Compress an answer as the API server does: objects of more than 128 KiB, for a client that accepts it."""
    body = response.body if isinstance(response, web.Response) else None
    if not isinstance(body, bytes) or len(body) <= GZIP_BYTES or response.content_type != "application/json":
        return response
    # As `negotiateContentEncoding` there: the bare word; "gzip;q=0.5" or "*" is not understood.
    if "gzip" in (token.strip() for token in request.headers.get("Accept-Encoding", "").split(",")):
        assert isinstance(response, web.Response)
        response.body = await asyncio.to_thread(gzip.compress, body, 1)
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
    return response


def _error(error: ApiError) -> web.Response:
    if error.plain:
        response = web.Response(text=f"{error.message}\n", status=error.code)
        response.headers["X-Content-Type-Options"] = "nosniff"
    else:
        response = answer(error.body, error.code)
    response.headers.update(error.headers)
    return response


class Server:
    """Routes of the sandbox.

    Parameters
    ----------
    kubelet : Kubelet
        The node, with store, faults and settings.
    token : str
        What clients must show; `TOKEN.NAME` to be another user.
    prefix : str
        The secret path, `/...`.
    """

    def __init__(self, kubelet: Kubelet, token: str, prefix: str) -> None:
        self._kubelet, self._faults, self._token, self._prefix = kubelet, kubelet.faults, token, prefix
        self._api = Api(kubelet.store, kubelet.faults, kubelet.config)
        #: Connections with a request under way.
        self.busy: set[object] = set()
        self.app = web.Application(client_max_size=8 * 1024 * 1024)
        self.app.router.add_route("*", "/{path:.*}", self._guard)

    async def _guard(self, request: web.Request) -> web.StreamResponse:
        transport = request.transport
        self.busy.add(transport)
        try:
            return await self._answer(request)
        except ApiError as error:
            return _error(error)
        except ConnectionError:  # whoever asked has gone before the first byte
            return web.Response()
        finally:
            self.busy.discard(transport)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        inside = request.path.startswith(f"{self._prefix}/")
        if inside:
            request = request.clone(rel_url=request.rel_url.raw_path_qs.removeprefix(self._prefix))
        user = self._user(request, inside=inside)
        if request.path.startswith("/sandbox/faults"):
            return await self._fault(request)
        path = f"{request.method} {request.path_qs}"
        if self._faults.drops(path) and request.transport is not None:
            request.transport.abort()
            raise ConnectionAbortedError
        self._faults.request(path)
        return await _compressed(request, await self._route(request, user))

    def _user(self, request: web.Request, *, inside: bool) -> str:
        right = f"Bearer {self._token}"
        shown, _, user = request.headers.get("Authorization", right if inside else "").partition(".")
        if not hmac.compare_digest(shown.encode(), right.encode()):
            raise ApiError(401, "Unauthorized")
        return user or USER

    async def _route(self, request: web.Request, user: str) -> web.StreamResponse:
        path = request.path
        if path in ("/healthz", "/livez", "/readyz"):
            return web.Response(text="ok")
        if found := discovery(path) or openapi(path, self._prefix):
            return answer(found)
        if path in _REVIEWS and request.method == "POST":
            return answer(self._review(await body(request), user), 201)
        where = target(path)
        verb = VERBS.get(request.method, "")
        if not where.name and verb in ("get", "delete"):
            watching = request.query.get("watch", "").lower() in ("true", "1")
            verb = "deletecollection" if verb == "delete" else "watch" if watching else "list"
        if self._faults.denied(verb, where.permission, where.namespace, name=where.name, user=user):
            raise self._forbidden(user, verb, where.permission, where.resource.group, where.namespace, where.name)
        if where.permission == "pods/log":
            return await pod_log(self._kubelet, request, where)
        if where.permission == "nodes/proxy":
            self._kubelet.store.require(where.resource, "", where.name)
            _, found_logs, rest = path.partition("/proxy/logs/")
            if not found_logs:
                raise status.no_such_resource()
            return nodeproxy.serve(self._kubelet.root / "var/log", rest, request.headers.get("Range", ""))
        return await self._api.handle(request, where)

    @staticmethod
    def _forbidden(user: str, verb: str, permission: str, group: str, namespace: str, name: str) -> ApiError:
        plural = permission.partition("/")[0]
        kind = f"{plural}.{group}" if group else plural
        subject = f'{kind} "{name}"' if name else kind
        scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        text = f'{subject} is forbidden: User "{user}" cannot {verb} resource "{permission}" in API group "{group}" {scope}'
        return ApiError(403, text, details={"name": name, "group": group, "kind": plural})

    def _review(self, review: dict[str, Any], user: str) -> dict[str, Any]:
        spec = review.get("spec") or {}
        wanted = spec.get("resourceAttributes") or {}
        permission = wanted.get("resource", "") + (f"/{wanted['subresource']}" if wanted.get("subresource") else "")
        about = {"name": wanted.get("name", ""), "user": spec.get("user", user), "groups": spec.get("groups") or ()}
        denied = self._faults.denied(wanted.get("verb", ""), permission, wanted.get("namespace", ""), **about)
        return review | {
            "status": {"allowed": not denied, "reason": "" if not denied else "the sandbox was told to deny it"}
        }

    async def _fault(self, request: web.Request) -> web.Response:
        ident = request.path.removeprefix("/sandbox/faults").strip("/")
        match request.method:
            case "GET":
                return answer({"faults": [f.as_dict() for f in self._faults.active]})
            case "DELETE":
                self._faults.remove(int(ident) if ident else None)
                return answer({"faults": [f.as_dict() for f in self._faults.active]})
            case "POST":
                fault = self._faults.add(await body(request))
                if fault.kind in ACTIONS:
                    await self._faults.act(fault)
                return answer(fault.as_dict(), 201)
        raise ApiError(405, "the server does not allow this method on the requested resource", details={})
