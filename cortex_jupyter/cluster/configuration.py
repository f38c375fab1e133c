"""Address and credentials of the cluster: from a kubeconfig, or from the service account of the pod that we run in.

We read the kubeconfig ourselves, by kubectl's rules (https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/).
The loader of the `kubernetes` package is used only for users with an `auth-provider` (OIDC). Its import costs 0.6 s and 10 MB
(release 37; 1.6 s and 50 MB in release 27). It has no time limit for credential plugins and only logs their failures. Its
releases support different keys: 27 knows neither `tls-server-name` nor `proxy-url`, and passes no cluster to plugins.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cortex_jupyter.cluster import plugin
from cortex_jupyter.cluster.proxy import is_loopback, proxy_for
from cortex_jupyter.errors import ClusterChanged, ClusterError, NoCluster
from cortex_jupyter.model import parse_rfc3339

_SERVICE_ACCOUNT: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: A token file is read again after this many seconds, as client-go does (`transport/token_source.go`).
_TOKEN_FILE_S: Final = 60.0
#: Keys of a kubeconfig that name files; a relative path starts at the folder of that kubeconfig.
_PATHS: Final = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
#: Path, modification time (ns), size (bytes) and inode of a file; None if there is no file.
_Stamp = tuple[str, tuple[int, int, int] | None]


@dataclass(frozen=True)
class Configuration:
    """The host and the credentials of one context, from one reading of the kubeconfig.

    Parameters
    ----------
    host : str
        The API server's URL.
    namespace : str
        The context's namespace, else `default`.
    context : str or None
        The context's name; None in a pod.
    authority : str
        In a pod, a fingerprint of the certificate authority, because many clusters have the same address there; else empty.
    headers : tuple of (str, str)
        Headers for each request: credentials that do not change by themselves, and the user to impersonate.
    token_file : Path or None
        A file with a token that is replaced from time to time.
    expires : float
        When the credentials expire (seconds since the Unix epoch); infinity if unknown.
    tls : ssl.SSLContext or None
        With the client's certificate; None for an address without TLS.
    server_name : str or None
        The name that the server's certificate must have, if it is not the host's.
    proxy : str or None
        The URL of the proxy to use; it may contain a password.
    stamps : tuple
        The state of the files when they were read.
    """

    host: str
    namespace: str
    context: str | None = None
    authority: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    token_file: Path | None = None
    expires: float = float("inf")
    tls: ssl.SSLContext | None = None
    server_name: str | None = None
    proxy: str | None = None
    stamps: tuple[_Stamp, ...] = ()

    @property
    def is_near(self) -> bool:
        """Whether the API server is in this pod's cluster or on this machine, so compression costs more than it saves."""
        return self.context is None or is_loopback(urlsplit(self.host).hostname or "")

    def is_outdated(self) -> bool:
        """Return whether one of the files has changed since it was read. This reads the disk."""
        return any(_stamp(path) != (path, state) for path, state in self.stamps)


class TokenFile:
    """The token in a file, read again once a minute. The last token stays in use while the file cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = ""
        self._read = float("-inf")

    async def header(self) -> tuple[str, str]:
        """Return the `Authorization` header.

        Raises
        ------
        NoCluster
            The file could never be read, or is empty.
        """
        if time.monotonic() - self._read >= _TOKEN_FILE_S:
            try:
                token = (await asyncio.to_thread(self._path.read_text)).strip()
            except OSError as error:
                token = ""
                if not self._token:
                    raise NoCluster(f"the token {self._path} cannot be read: {error.strerror or error}") from error
            if not token and not self._token:
                raise NoCluster(f"the token {self._path} is empty")
            self._token, self._read = token or self._token, time.monotonic()
        return "Authorization", f"Bearer {self._token}"


def kubeconfig_of(kubeconfig: str | None) -> str | None:
    """Return the argument, else `KUBECONFIG`, else None."""
    return kubeconfig or os.environ.get("KUBECONFIG") or None


def is_configured(kubeconfig: str | None) -> bool:
    """Return whether there is a kubeconfig file or a pod's service account, usable or not.

    Parameters
    ----------
    kubeconfig : str or None
        As for `configure`.
    """
    account = not kubeconfig and os.path.exists(_SERVICE_ACCOUNT / "token")  # noqa: PTH110 - see `configure`
    return account or any(os.path.isfile(path) for path in _files(kubeconfig))  # noqa: PTH113 - the same


async def configure(
    kubeconfig: str | None, context: str | None, timeout_s: float | None = None, host: str | None = None
) -> Configuration:
    """Read the cluster's address and get credentials for it.

    Parameters
    ----------
    kubeconfig : str or None
        A path, or several with `os.pathsep` between them. None: `~/.kube/config`, else the pod's service account.
    context : str or None
        The context's name; None for the current one.
    timeout_s : float, optional
        How long a credential plugin may take (seconds).
    host : str, optional
        The address that the cluster must have. If it has another, no credentials are read.

    Raises
    ------
    NoCluster
        There is no kubeconfig and no service account, or it is invalid.
    ClusterChanged
        The cluster has another address than `host`, or the context no longer exists.
    """
    files = _files(kubeconfig)
    account = _SERVICE_ACCOUNT / "token"
    # In threads, because a home may be on a slow disk, and loading the system's certificates takes 40 ms. Not with pathlib:
    # before Python 3.14 its tests raise if the home may not be entered, as /root by another user.
    existing = await asyncio.to_thread(lambda: [path for path in files if os.path.isfile(path)])  # noqa: PTH113 - see above
    if not existing and not kubeconfig and await asyncio.to_thread(os.path.exists, account):
        in_pod = await asyncio.to_thread(_in_pod)
        _check(in_pod.host, host)
        return in_pod
    if not existing:
        names = os.pathsep.join(map(str, files)) or "~/.kube/config (there is no home directory)"
        raise NoCluster(
            f"there is no kubeconfig at {names}" + ("" if kubeconfig else ", and this is not a pod of a cluster")
        )
    name = os.pathsep.join(map(str, existing))
    try:
        selected = await asyncio.to_thread(_Context, existing, context)
        _check(selected.host, host, selected.name)
        if selected.plugin is not None:
            status = await plugin.credentials(selected.plugin, selected.cluster, selected.plugin_folder, timeout_s)
            selected.add_credentials(status)
        return await asyncio.to_thread(selected.configuration)
    except ClusterError:
        raise
    except _NoContextError as error:
        if host is not None:
            raise ClusterChanged(
                f"the kubeconfig {name} has no context {context!r} any more: {host} is not asked"
            ) from error
        raise NoCluster(f"the kubeconfig {name} cannot be used: {error}") from error
    except Exception as error:  # a kubeconfig may contain anything
        raise NoCluster(f"the kubeconfig {name} cannot be used: {_message(error)}") from error


def _check(actual: str, expected: str | None, context: str | None = None) -> None:
    if expected is not None and actual != expected:
        subject = f"the context {context!r}" if context else "this pod's service account"
        raise ClusterChanged(
            f"{subject} is now for {actual}, and no longer for {expected}: neither is sent the credentials of the other"
        )


class _NoContextError(ValueError):
    """The kubeconfig does not have the requested context."""


def _files(kubeconfig: str | None) -> list[Path]:
    if kubeconfig:
        return [Path(os.path.expanduser(path)) for path in kubeconfig.split(os.pathsep) if path]  # noqa: PTH111 - pathlib's raises if there is no home
    home = os.path.expanduser("~")  # noqa: PTH111 - the same
    return [Path(home, ".kube", "config")] if home != "~" else []


def _in_pod() -> Configuration:
    """Read the pod's service account: https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/."""
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    if not host or not port:
        raise NoCluster(
            "this pod does not know its cluster's address: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set"
        )
    url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    authority = _SERVICE_ACCOUNT / "ca.crt"
    namespace = _SERVICE_ACCOUNT / "namespace"
    try:
        pem = authority.read_text()
        return Configuration(
            url,
            (namespace.read_text().strip() if namespace.exists() else "") or "default",
            authority=hashlib.sha256(pem.strip().encode()).hexdigest()[:12],
            token_file=_SERVICE_ACCOUNT / "token",
            tls=_tls(pem),
            proxy=_proxy("", url),
            stamps=(_stamp(str(authority)),),
        )
    except (OSError, ValueError) as error:
        raise NoCluster(f"the service account of this pod cannot be used: {_message(error)}") from error


class _Context:
    """One context of one or several kubeconfig files.

    Attributes
    ----------
    plugin : dict or None
        The `exec` section, if a plugin provides the credentials.
    plugin_folder : Path
        The folder that a relative path of the plugin's command starts from.
    cluster : dict
        The section of the context's cluster.
    """

    def __init__(self, files: list[Path], context: str | None) -> None:
        stamps = [_stamp(str(file)) for file in files]  # before reading, so that a change while we read counts
        named, current = _merged(files)
        self.name = context or current
        if not self.name:
            raise ValueError("it has no current-context: name a context")
        if self.name not in named["contexts"]:
            raise _NoContextError(f"it has no context {self.name!r}")
        chosen = named["contexts"][self.name][0]
        cluster_name, user_name = chosen.get("cluster") or "", chosen.get("user") or ""
        if cluster_name not in named["clusters"]:
            raise ValueError(f"it has no cluster {cluster_name!r}, which context {self.name!r} names")
        if user_name and user_name not in named["users"]:
            raise ValueError(f"it has no user {user_name!r}, which context {self.name!r} names")
        self.cluster, _ = named["clusters"][cluster_name]
        self._user, self.plugin_folder = named["users"].get(user_name, ({}, Path()))
        self.namespace = str(chosen.get("namespace") or "default")
        self.host = str(self.cluster.get("server") or "").rstrip("/")
        if urlsplit(self.host).scheme not in ("http", "https"):
            raise ValueError(f"the server of cluster {cluster_name!r} is {self.host!r}, and not an http or https URL")
        self.plugin = self._user.get("exec") if not self._has_token() and "username" not in self._user else None
        self._expires = float("inf")
        referred = [self.cluster.get(_PATHS[0]), self._user.get(_PATHS[1]), self._user.get(_PATHS[2])]
        self._stamps = (*stamps, *(_stamp(path) for path in referred if path))

    def _has_token(self) -> bool:
        return bool(self._user.get("token") or self._user.get("tokenFile"))

    def add_credentials(self, status: dict[str, Any]) -> None:
        """Use the credentials that a plugin printed."""
        if token := status.get("token"):
            self._user = self._user | {"token": token}
        if pem := status.get("clientCertificateData"):
            names = {"client-certificate-data": pem, "client-key-data": status["clientKeyData"]}
            encoded = {name: base64.b64encode(text.encode()).decode() for name, text in names.items()}
            self._user = self._user | encoded
        if when := status.get("expirationTimestamp"):
            self._expires = parse_rfc3339(when) / 1e9

    def configuration(self) -> Configuration:
        """Return the configuration; this reads the files that the context names."""
        cluster, user = self.cluster, self._user
        file = Path(user["tokenFile"]) if user.get("tokenFile") else None
        headers = [*_impersonation(user)]
        if file is None and (value := self._authorization()):
            headers.append(("Authorization", value))
        tls = None
        if self.host.startswith("https:"):
            pem = _data(cluster, "certificate-authority")
            pair = (_data(user, "client-certificate"), _data(user, "client-key"))
            insecure = bool(cluster.get("insecure-skip-tls-verify"))
            tls = _tls(pem.decode() if pem else None, pair, insecure=insecure)
        return Configuration(
            self.host,
            self.namespace,
            self.name,
            headers=tuple(headers),
            token_file=file,
            expires=self._expires,
            tls=tls,
            server_name=cluster.get("tls-server-name") or None,
            proxy=_proxy(cluster.get("proxy-url") or "", self.host),
            stamps=self._stamps,
        )

    def _authorization(self) -> str:
        user = self._user
        if token := user.get("token"):
            return f"Bearer {token}"
        if "username" in user:
            pair = f"{user['username']}:{user.get('password') or ''}"
            return "Basic " + base64.b64encode(pair.encode()).decode()
        return _from_auth_provider(user) if "auth-provider" in user else ""


def _merged(files: list[Path]) -> tuple[dict[str, dict[str, tuple[dict[str, Any], Path]]], str]:
    """Read and merge kubeconfig files. The first current context wins, and the first of several entries with one name.

    Returns
    -------
    dict, str
        `clusters`, `users` and `contexts`: by name, the section (with absolute paths) and the folder of its file.
    """
    import yaml  # readers of a recording do not need it

    named: dict[str, dict[str, tuple[dict[str, Any], Path]]] = {"clusters": {}, "users": {}, "contexts": {}}
    current = ""
    for file in files:
        document = _document(file, yaml)
        if document is None:
            continue  # an empty file, which kubectl accepts too
        if not isinstance(document, dict):
            raise ValueError(f"{file} is no kubeconfig: it has no clusters, users and contexts")  # noqa: TRY004 - the value is a file's
        folder = file.absolute().parent
        current = current or str(document.get("current-context") or "")
        for kind, sections in named.items():
            for entry in document.get(kind) or ():
                section = dict(entry.get(kind[:-1]) or {})
                section |= {key: str(folder / section[key]) for key in _PATHS if section.get(key)}
                sections.setdefault(str(entry["name"]), (section, folder))
    return named, current


def _document(file: Path, yaml: Any) -> Any:
    try:
        return yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}," if mark else ""
        # Without the parser's message: it quotes the line, which may contain the token.
        raise ValueError(f"{file}{where} is not YAML") from None


def _data(section: dict[str, Any], key: str) -> bytes | None:
    """Return a certificate or key, from inline data if there is any, else from the file."""
    if text := section.get(f"{key}-data"):
        try:
            return base64.b64decode("".join(str(text).split()), validate=True)
        except binascii.Error as error:
            raise ValueError(f"{key}-data is not base64: {error}") from error
    return Path(section[key]).read_bytes() if section.get(key) else None


def _impersonation(user: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the impersonation headers: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation."""
    headers = [("Impersonate-User", user.get("as")), ("Impersonate-Uid", user.get("as-uid"))]
    headers += [("Impersonate-Group", group) for group in user.get("as-groups") or ()]
    for name, values in (user.get("as-user-extra") or {}).items():
        headers += [(f"Impersonate-Extra-{name}", value) for value in values]
    return [(name, str(value)) for name, value in headers if value]


def _from_auth_provider(user: dict[str, Any]) -> str:
    """Return the `Authorization` header of a user with an `auth-provider`. This may renew the token."""
    from kubernetes import client, config  # takes half a second or more

    cluster = {"name": "x", "cluster": {"server": "https://unused.invalid"}}
    document = {
        "current-context": "x",
        "clusters": [cluster],
        "users": [{"name": "x", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    loaded = client.Configuration()
    config.load_kube_config_from_dict(document, client_configuration=loaded, persist_config=False)
    value = loaded.auth_settings().get("BearerToken", {}).get("value")
    if not value:
        kind = user["auth-provider"].get("name")
        raise ValueError(
            f"its auth-provider {kind!r} gives no token: use a credential plugin, as kubectl does since 1.26"
        )
    return str(value)


def _proxy(configured: str, host: str) -> str | None:
    """Return the proxy that the kubeconfig names, else the one that the environment names."""
    proxy = configured or proxy_for(host, os.environ)
    if proxy and (parts := urlsplit(proxy)).scheme not in ("http", "https"):
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # without a password
        raise ValueError(f"the proxy {address} is not supported: use an HTTP proxy")
    return proxy


def _tls(
    authority: str | None, pair: tuple[bytes | None, bytes | None] = (None, None), *, insecure: bool = False
) -> ssl.SSLContext:
    """Return a TLS context that trusts an authority (None: the system's authorities) and uses a client certificate."""
    try:
        context = ssl.create_default_context(cadata=authority)
        # Python 3.13 checks extensions that Go, and so kubectl, does not; certificates of many clusters lack them.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        certificate, key = pair
        if bool(certificate) != bool(key):
            raise ValueError("a client certificate needs its key, and the key its certificate")
        if certificate and key:
            # Python loads only files, so we write a temporary one. The empty password keeps OpenSSL from asking for one.
            with tempfile.NamedTemporaryFile(prefix="cortex-") as file:
                file.write(certificate + b"\n" + key)
                file.flush()
                context.load_cert_chain(file.name, password="")
    except ssl.SSLError as error:
        raise ValueError(f"a certificate or key cannot be used: {error}") from error
    return context


def _stamp(path: str) -> _Stamp:
    try:
        status = os.stat(path)  # noqa: PTH116 - one call, for any path
    except OSError:
        return path, None
    return path, (status.st_mtime_ns, status.st_size, status.st_ino)


def _message(error: Exception) -> str:
    return str(error) or type(error).__name__
