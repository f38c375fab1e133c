"""Kubernetes and nothing else: session, discovery, workloads, pods, watch, log streams, rotated files, access reviews."""

from typing import Any, TypeAlias

#: An object of the Kubernetes API as JSON. Its form depends on its kind and on the server's version.
KubeObject: TypeAlias = dict[str, Any]
