"""A small synchronous Kubernetes client for tests, independent of the package under test.

It works with the sandbox and with a real cluster; the kubeconfig has a bearer token or inline client certificates. The
manifests that it builds run on both, see `python_job`.
"""

from __future__ import annotations

import base64
import contextlib
import ssl
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
Object = dict[str, Any]
Objects = list[Object]  # within `Kube`, the name `list` means its method

IMAGE = "docker.io/local/busybox:1"
#: The path prefix of each resource.
PREFIX = {
    **dict.fromkeys(("pods", "events", "namespaces", "nodes"), "/api/v1"),
    **dict.fromkeys(("jobs", "cronjobs"), "/apis/batch/v1"),
    **dict.fromkeys(("deployments", "replicasets", "statefulsets", "daemonsets"), "/apis/apps/v1"),
}
_CLUSTER_WIDE = ("namespaces", "nodes")


class KubeError(AssertionError):
    """The cluster answered with an error."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(
            f"{response.request.method} {response.request.url}: {response.status_code} {response.text[:500]}"
        )
        self.response = response


class Kube:
    """A client for one cluster.

    Parameters
    ----------
    kubeconfig : path
        The kubeconfig; its current context is used.
    """

    def __init__(self, kubeconfig: str | Path) -> None:
        config = yaml.safe_load(Path(kubeconfig).read_text())
        named = {kind: {item["name"]: item for item in config[f"{kind}s"]} for kind in ("cluster", "user", "context")}
        context = named["context"][config["current-context"]]["context"]
        cluster, user = named["cluster"][context["cluster"]]["cluster"], named["user"][context["user"]]["user"]
        self.kubeconfig = Path(kubeconfig)
        self.namespace = context.get("namespace", "default")
        self.server = cluster["server"].rstrip("/")
        self.tls = _tls(cluster, user)
        headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        self.client = httpx.Client(verify=self.tls, headers=headers, timeout=60)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    # ------------------------------------------------------------ requests

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request; return the response, also if it is an error."""
        return self.client.request(method, self.server + path, **options)

    def path(self, plural: str, name: str = "", namespace: str | None = None, sub: str = "") -> str:
        """Return the path of a collection, an object or a subresource."""
        scope = "" if plural in _CLUSTER_WIDE else f"/namespaces/{namespace or self.namespace}"
        return "/".join(filter(None, (f"{PREFIX[plural]}{scope}/{plural}", name, sub)))

    def _ok(self, response: httpx.Response) -> Object:
        if response.is_error:
            raise KubeError(response)
        obj: Object = response.json()
        return obj

    def get(self, plural: str, name: str, namespace: str | None = None) -> Object:
        """Return one object."""
        return self._ok(self.request("GET", self.path(plural, name, namespace)))

    def list(self, plural: str, namespace: str | None = None, **query: Any) -> Object:
        """Return a list object."""
        return self._ok(self.request("GET", self.path(plural, "", namespace), params=query))

    def create(self, manifest: Object) -> Object:
        """Create an object."""
        plural = manifest["kind"].lower() + "s"
        return self._ok(
            self.request("POST", self.path(plural, "", manifest["metadata"].get("namespace")), json=manifest)
        )

    def patch(
        self, plural: str, name: str, change: Any, *, kind: str = "strategic-merge", namespace: str | None = None
    ) -> Object:
        """Patch an object."""
        headers = {"Content-Type": f"application/{kind}-patch+json"}
        return self._ok(self.request("PATCH", self.path(plural, name, namespace), json=change, headers=headers))

    def delete(
        self,
        plural: str,
        name: str,
        namespace: str | None = None,
        *,
        grace: int | None = 0,
        propagation: str | None = "Background",
    ) -> None:
        """Delete an object and the objects that it owns; do nothing if it does not exist."""
        options = {"gracePeriodSeconds": grace, "propagationPolicy": propagation}
        body = {k: v for k, v in options.items() if v is not None}
        response = self.request("DELETE", self.path(plural, name, namespace), json=body)
        if response.is_error and response.status_code != httpx.codes.NOT_FOUND:
            raise KubeError(response)

    # ------------------------------------------------------------ waiting

    def wait_for(self, predicate: Callable[[], T], what: str = "it", timeout: float = 120) -> T:
        """Call `predicate` until it returns a true value, and return that value."""
        end = time.monotonic() + timeout
        while not (value := predicate()):
            if time.monotonic() > end:
                raise TimeoutError(
                    f"{what} did not happen within {timeout:g} s: {getattr(predicate, '__doc__', None) or predicate}"
                )
            time.sleep(0.05)
        return value

    def wait_job(
        self, name: str, condition: str = "Complete", namespace: str | None = None, timeout: float = 120
    ) -> Object:
        """Wait until a Job has a condition, and return the Job."""

        def job_with_condition() -> Object | None:
            job = self.get("jobs", name, namespace)
            conditions = job.get("status", {}).get("conditions") or []
            return job if any(c["type"] == condition and c["status"] == "True" for c in conditions) else None

        job = self.wait_for(job_with_condition, f"{condition} of job {name}", timeout)
        assert job is not None
        return job

    def pods_of(self, job: str, namespace: str | None = None) -> Objects:
        """Return a Job's pods, the oldest first."""
        items = self.list("pods", namespace, labelSelector=f"job-name={job}")["items"]
        return sorted(items, key=lambda p: (p["metadata"]["creationTimestamp"], p["metadata"]["name"]))

    def wait_pod(
        self,
        name: str,
        test: Callable[[Object], Any],
        what: str = "state",
        namespace: str | None = None,
        timeout: float = 120,
    ) -> Object:
        """Wait until `test` holds for a pod, and return the pod."""

        def matching_pod() -> Object | None:
            pod = self.get("pods", name, namespace)
            return pod if test(pod) else None

        pod = self.wait_for(matching_pod, f"{what} of pod {name}", timeout)
        assert pod is not None
        return pod

    # ------------------------------------------------------------ logs

    def log(self, pod: str, namespace: str | None = None, **query: Any) -> httpx.Response:
        """Request a log without follow; return the response, also if it is an error."""
        return self.request("GET", self.path("pods", pod, namespace, "log"), params=query)

    def logs(self, pod: str, namespace: str | None = None, **query: Any) -> bytes:
        """Return a log's bytes."""
        response = self.log(pod, namespace, **query)
        if response.is_error:
            raise KubeError(response)
        return response.content

    @contextlib.contextmanager
    def following(self, pod: str, namespace: str | None = None, **query: Any) -> Iterator[Follower]:
        """Follow a log in a thread while the block runs."""
        url = self.server + self.path("pods", pod, namespace, "log")
        follower = Follower(self, url, {"follow": "true", **query})
        try:
            yield follower
        finally:
            follower.close()

    @contextlib.contextmanager
    def watching(self, plural: str, namespace: str | None = None, **query: Any) -> Iterator[Follower]:
        """Watch a collection in a thread while the block runs; its lines are the events."""
        url = self.server + self.path(plural, "", namespace)
        follower = Follower(self, url, {"watch": "true", **query})
        try:
            yield follower
        finally:
            follower.close()


class Follower:
    """Reads one stream in a thread.

    Attributes
    ----------
    error : Exception or None
        The error that ended the stream, or None after a clean end.
    """

    def __init__(self, kube: Kube, url: str, query: Object) -> None:
        self._data = bytearray()
        self.error: Exception | None = None
        self.status = 0
        self._kube, self._closing = kube, False
        # A separate client: closing it ends a read in this thread.
        self._client = httpx.Client(verify=kube.tls, headers=kube.client.headers, timeout=httpx.Timeout(10, read=None))
        self._response: httpx.Response | None = None
        self._thread = threading.Thread(target=self._run, args=(url, query), daemon=True)
        self._thread.start()

    def _run(self, url: str, query: Object) -> None:
        try:
            with self._client.stream("GET", url, params=query) as response:
                self._response, self.status = response, response.status_code
                for block in response.iter_raw():
                    self._data += block
        except (httpx.HTTPError, httpx.StreamError, OSError, ValueError) as error:
            if not self._closing:
                self.error = error

    @property
    def data(self) -> bytes:
        """The bytes so far."""
        return bytes(self._data)

    @property
    def lines(self) -> list[bytes]:
        """The complete lines so far."""
        return self.data.split(b"\n")[:-1]

    @property
    def ended(self) -> bool:
        """Whether the stream is over."""
        return not self._thread.is_alive()

    def wait_for(self, predicate: Callable[[Follower], T], what: str = "that", timeout: float = 120) -> T:
        """Wait until `predicate` returns a true value for this follower, and return that value."""
        return self._kube.wait_for(
            lambda: predicate(self), f"{what} (so far {self.data[-200:]!r}, {self.error})", timeout
        )

    def join(self, timeout: float = 120) -> bytes:
        """Wait for the end of the stream, and return all of its bytes."""
        self._thread.join(timeout)
        assert self.ended, f"the stream did not end within {timeout:g} s; last {self.data[-200:]!r}"
        return self.data

    def close(self) -> None:
        """End the stream from this side."""
        self._closing = True
        if self._response is not None and not self.ended:
            # Only shutting down the socket ends a read in another thread.
            connection = self._response.extensions["network_stream"].get_extra_info("socket")
            with contextlib.suppress(OSError, AttributeError):
                connection.shutdown(2)
        self._thread.join(120)
        self._client.close()


def _tls(cluster: Object, user: Object) -> ssl.SSLContext | bool:
    if "certificate-authority-data" not in cluster:
        return False
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    if "client-certificate-data" in user:
        with tempfile.TemporaryDirectory() as folder:
            files = {part: Path(folder) / part for part in ("certificate", "key")}
            for part, path in files.items():
                path.write_bytes(base64.b64decode(user[f"client-{part}-data"]))
            context.load_cert_chain(files["certificate"], files["key"])
    return context


# ---------------------------------------------------------------- manifests


def python_container(name: str, program: str, *, image: str = IMAGE, **extra: Any) -> Object:
    """Return a container that runs `program` with the node's Python, on the sandbox and on a real node."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["busybox", "chroot", "/host", "/usr/bin/python3", "-u", "-c", program],
        "volumeMounts": [{"name": "host", "mountPath": "/host", "readOnly": True}],
        **extra,
    }


def pod_spec(
    containers: list[Object], *, inits: list[Object] | None = None, restart: str = "Never", **extra: Any
) -> Object:
    """Return the spec of a pod of `python_container`s, with a short grace period."""
    spec: Object = {
        "restartPolicy": restart,
        "terminationGracePeriodSeconds": 1,
        "containers": containers,
        "volumes": [{"name": "host", "hostPath": {"path": "/"}}],
        **extra,
    }
    return spec | ({"initContainers": inits} if inits else {})


def python_pod(
    name: str, program: str, *, restart: str = "Never", namespace: str = "default", image: str = IMAGE, **extra: Any
) -> Object:
    """Return a pod with one container `main`."""
    spec = pod_spec([python_container("main", program, image=image)], restart=restart, **extra)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def python_job(
    name: str,
    program: str,
    *,
    parallelism: int = 1,
    containers: int = 1,
    init: str | None = None,
    sidecar: str | None = None,
    backoff: int = 0,
    image: str = IMAGE,
    namespace: str = "default",
    **spec: Any,
) -> Object:
    """Return a Job of `parallelism` pods that all run `program`.

    Parameters
    ----------
    name, program : str
        Name of the Job, and the program that its containers run.
    parallelism : int
        Number of pods, which all run at once and must all succeed.
    containers : int
        Regular containers per pod: `main`, `side1`, `side2`, ...
    init : str, optional
        Program of an init container `prepare`.
    sidecar : str, optional
        Program of a native sidecar `sidecar` (an init container with `restartPolicy: Always`); Kubernetes before
        1.29 would wait for its end.
    backoff : int
        `backoffLimit`.
    image : str
        Image of all containers.
    **spec
        More fields of the Job's spec.
    """
    inits = [python_container("prepare", init, image=image)] if init else []
    inits += [python_container("sidecar", sidecar, image=image, restartPolicy="Always")] if sidecar else []
    mains = [python_container("main" if i == 0 else f"side{i}", program, image=image) for i in range(containers)]
    job: Object = {"backoffLimit": backoff, "parallelism": parallelism, "completions": parallelism, **spec}
    job["template"] = {"metadata": {"labels": {"job": name}}, "spec": pod_spec(mains, inits=inits)}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": namespace}, "spec": job}
