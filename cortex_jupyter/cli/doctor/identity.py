"""By what name a store that others share knows the cluster: two clusters with one must not count as one."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from cortex_jupyter.cli.doctor import archive
from cortex_jupyter.cli.doctor.cluster import PART
from cortex_jupyter.cli.doctor.finding import WARN, Finding
from cortex_jupyter.reader.connection import shared
from cortex_jupyter.store.url import without_password

if TYPE_CHECKING:
    from collections.abc import Iterator

_TODO: Final = "set CORTEX_CLUSTER to a name of the cluster, the same wherever its logs are recorded or read, another for each other cluster"


def judge(store_url: str, host: str) -> Iterator[Finding]:
    """Look at the address of a cluster, where what is shared knows it by that.

    Parameters
    ----------
    store_url, host : str
    """
    if os.environ.get("CORTEX_CLUSTER") or not ambiguous(host, os.environ.get("KUBERNETES_SERVICE_HOST", "")):
        return
    for url in filter(shared, (store_url, archive.url_of(store_url))):
        text = f"{without_password(url)} is shared, and {host} is an address that other clusters have as well, or others do not know this one by"
        yield Finding(PART, WARN, text, _TODO)


def ambiguous(host: str, service: str) -> bool:
    """Tell whether an API server's address says nothing of which it is.

    Parameters
    ----------
    host : str
        Its URL.
    service : str
        Where pods reach theirs; empty outside.

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
