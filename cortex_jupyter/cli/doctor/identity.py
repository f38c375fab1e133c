"""Check the cluster's name in a shared store: two clusters with the same name would be taken for one."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cortex_jupyter.cli.doctor import archive
from cortex_jupyter.cli.doctor.cluster import PART
from cortex_jupyter.cli.doctor.finding import WARN, Finding
from cortex_jupyter.reader.connection import is_shared
from cortex_jupyter.store.url import without_password

if TYPE_CHECKING:
    from collections.abc import Iterator

_TODO: Final = "set CORTEX_CLUSTER to a name of this cluster: the same wherever its logs are recorded or read, and a different one for each other cluster"


def judge(store_url: str, host: str) -> Iterator[Finding]:
    """Check the address of a cluster, if a shared store or archive identifies the cluster by it.

    Parameters
    ----------
    store_url, host : str
    """
    if os.environ.get("CORTEX_CLUSTER") or not ambiguous(host, os.environ.get("KUBERNETES_SERVICE_HOST", "")):
        return
    for url in filter(is_shared, (store_url, archive.url_of(store_url))):
        text = f"{without_password(url)} is shared, but the address {host} does not identify this cluster: other clusters can have the same, or other machines reach this one at another"
        yield Finding(PART, WARN, text, _TODO)


def ambiguous(host: str, service: str) -> bool:
    """Return whether an API server's address does not identify its cluster.

    Parameters
    ----------
    host : str
        URL of the API server.
    service : str
        Address of the API server inside a pod; empty elsewhere.

    Examples
    --------
    >>> [ambiguous(url, "10.96.0.1") for url in ("https://127.0.0.1:6443", "https://10.96.0.1:443", "https://k8s.example.org")]
    [True, True, False]
    """
    name = urlsplit(host).hostname or ""
    if name in ("localhost", "kubernetes", service) or name.startswith("kubernetes.default"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
