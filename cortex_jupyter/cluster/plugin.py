"""Credential plugins: programs that a kubeconfig names (`users[].user.exec`) and that print a token or a certificate.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shlex
import signal
import sys
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import NoCluster

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A plugin that runs longer than this many seconds is killed. A login in a browser takes the longest.
TIMEOUT_S: Final = 60.0
#: The name of the extension of a kubeconfig's cluster that holds settings for plugins.
_EXTENSION: Final = "client.authentication.k8s.io/exec"


async def credentials(
    plugin: Mapping[str, Any], cluster: Mapping[str, Any], folder: Path, timeout_s: float | None = None
) -> dict[str, Any]:
    """Run a credential plugin and return the `status` of the ExecCredential that it prints.

    Cancelling the call kills the plugin and all processes that it has started.

    Parameters
    ----------
    plugin : mapping
        The `exec` section of the kubeconfig's user.
    cluster : mapping
        The cluster's section, with absolute paths. The plugin gets it if it asks for it (`provideClusterInfo`).
    folder : Path
        The kubeconfig's folder; a relative path of the command starts there.
    timeout_s : float, optional
        `TIMEOUT_S` by default.

    Returns
    -------
    dict
        `token`, or `clientCertificateData` and `clientKeyData`; with `expirationTimestamp` if they expire.

    Raises
    ------
    NoCluster
        The plugin cannot be run, fails, takes too long or prints something else; the message names it.
    """
    command = [str(plugin.get("command") or ""), *map(str, plugin.get("args") or ())]
    # Without options, because one may be a secret: `kubectl oidc-login get-token --oidc-client-secret=...`.
    command_name = shlex.join(takewhile(lambda word: not word.startswith("-"), command))
    name = f"the credential plugin {command_name!r}"
    hint = str(
        plugin.get("installHint")
        or f"run `{command_name}` yourself, with its arguments in the kubeconfig (users[].user.exec), to see why"
    )
    interactive = plugin.get("interactiveMode") == "Always"
    if interactive and not (sys.stdin and sys.stdin.isatty()):
        raise NoCluster(f"{name} needs a terminal (interactiveMode: Always), and there is none", hint)
    if os.sep in command[0]:
        command[0] = str(folder / command[0])
    environ = os.environ | {str(entry["name"]): str(entry["value"]) for entry in plugin.get("env") or ()}
    environ["KUBERNETES_EXEC_INFO"] = json.dumps(_request(plugin, cluster, interactive=interactive))
    seconds = TIMEOUT_S if timeout_s is None else timeout_s
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environ,
            stdin=None if interactive else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=not interactive,  # so that we can kill the group; an interactive one would lose its terminal
        )
    except OSError as error:
        raise NoCluster(f"{name} cannot be run: {error.strerror or error}", hint) from error
    try:
        async with asyncio.timeout(seconds):
            printed, stderr = await process.communicate()
    except TimeoutError:
        raise NoCluster(f"{name} did not end within {seconds:g} s", hint) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill() if interactive else os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        message = stderr.decode(errors="replace").strip()[-500:] or "it printed no message"
        raise NoCluster(f"{name} failed with exit code {process.returncode}: {message}", hint)
    return _status(printed, str(plugin.get("apiVersion")), name, hint)


def _request(plugin: Mapping[str, Any], cluster: Mapping[str, Any], *, interactive: bool) -> dict[str, Any]:
    """Return the ExecCredential that a plugin gets as its input."""
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.get("provideClusterInfo"):
        names = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
        spec["cluster"] = {name: cluster[name] for name in names if cluster.get(name)}
        if path := cluster.get("certificate-authority"):
            spec["cluster"]["certificate-authority-data"] = base64.b64encode(Path(path).read_bytes()).decode()
        for entry in cluster.get("extensions") or ():
            if entry.get("name") == _EXTENSION:
                spec["cluster"]["config"] = entry.get("extension")
    return {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": spec}


def _status(printed: bytes, version: str, name: str, hint: str) -> dict[str, Any]:
    try:
        credential = json.loads(printed)
        status = credential["status"]
        is_usable = status.get("token") or (status.get("clientCertificateData") and status.get("clientKeyData"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # The message does not quote the output, which may be a bare token. Nor does it chain the error, which quotes it.
        kind = type(error).__name__
        raise NoCluster(f"{name} prints no ExecCredential with a status ({len(printed)} bytes, {kind})", hint) from None
    if credential.get("apiVersion") != version:
        raise NoCluster(f"{name} answers with {credential.get('apiVersion')}, and the kubeconfig asks for {version}")
    if not is_usable:
        raise NoCluster(f"{name} prints neither a token nor a certificate with its key")
    return dict(status)
