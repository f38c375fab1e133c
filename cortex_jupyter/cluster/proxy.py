"""Choice of the HTTP proxy for an API server, by the environment variables and rules that kubectl uses."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORTS: Final = {"http": 80, "https": 443}


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for an address; None to connect directly.

    The rules come from Go's `golang.org/x/net/http/httpproxy` (`http/httpproxy/proxy.go`), which kubectl uses. Python's
    own (`urllib.request.getproxies`) do not support CIDR blocks, so `NO_PROXY=10.0.0.0/8` would have no effect.

    Parameters
    ----------
    url : str
        The API server's URL.
    environ : mapping
        `HTTPS_PROXY` or `HTTP_PROXY` (by the URL's scheme) and `NO_PROXY`. Upper case wins over lower case.

    Examples
    --------
    >>> environ = {"HTTPS_PROXY": "proxy.example:3128", "NO_PROXY": "10.0.0.0/8,.corp.example,10.1.2.3:443"}
    >>> proxy_for("https://api.example.org:6443", environ)
    'http://proxy.example:3128'
    >>> [proxy_for(f"https://{host}", environ) for host in ("10.96.0.1", "k8s.corp.example", "127.0.0.1:6443", "localhost")]
    [None, None, None, None]
    """
    address = urlsplit(url)
    proxy = _variable(environ, "HTTPS_PROXY" if address.scheme == "https" else "HTTP_PROXY")
    host = (address.hostname or "").lower()
    if not proxy or _is_direct(host, address.port or _PORTS.get(address.scheme, 0), _variable(environ, "NO_PROXY")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.lower()) or ""


def _is_direct(host: str, port: int, no_proxy: str) -> bool:
    ip = _ip(host)
    return is_loopback(host) or any(
        _matches(entry.strip().lower(), host, ip, str(port)) for entry in no_proxy.split(",")
    )


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine itself."""
    ip = _ip(host)
    return host == "localhost" or (ip is not None and ip.is_loopback)


def _matches(entry: str, host: str, ip: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: str) -> bool:
    """Return whether one entry of `NO_PROXY` matches a host.

    Examples
    --------
    >>> [_matches(entry, "api.example.org", None, "443") for entry in ("*", "example.org", ".example.org", "*.example.org")]
    [True, True, True, True]
    >>> [_matches(entry, "example.org", None, "443") for entry in (".example.org", "ample.org", "example.org:80", "example.org:443")]
    [False, False, False, True]
    """
    if entry == "*":
        return True
    if "/" in entry:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            pass
        else:
            return ip is not None and ip in network
    name, entry_port = entry, ""
    if entry.startswith("[") and "]:" in entry:
        name, _, entry_port = entry[1:].rpartition("]:")
    elif entry.count(":") == 1:
        name, _, entry_port = entry.partition(":")
    if not name or (entry_port and entry_port != port):
        return False
    if (entry_ip := _ip(name)) is not None:
        return entry_ip == ip
    name = name[1:] if name.startswith("*.") else name
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith("." + name)


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip
