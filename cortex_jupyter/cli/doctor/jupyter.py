"""Check Jupyter in this environment, and this user's running Jupyter servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from jupyter_core.paths import jupyter_config_path, jupyter_path, jupyter_runtime_dir
from yarl import URL

from cortex_jupyter._version import __version__
from cortex_jupyter.cli.doctor.finding import BAD, OK, TOLD, WARN, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

PART: Final = "jupyter"
_STATIC: Final = Path(__file__).parents[2] / "notebook" / "static"
_BUNDLE: Final = (
    "loader.js",
    "viewer.js",
    "store.js",
    "charts.js",
    "panels.js",
    "viewer.css",
    "page.js",
    "page.css",
    "tasks.js",
    "tasks.css",
)
_REINSTALL: Final = "pip install --force-reinstall --no-deps cortex-jupyter (from its folder: make setup)"


def installed() -> Iterator[Finding]:
    """Check which of our extensions Jupyter finds."""
    from jupyter_server.extension.config import ExtensionConfigManager  # 0.3 s

    manager: Any = ExtensionConfigManager(read_config_path=jupyter_config_path())
    if manager.get_jpserver_extensions().get("cortex_jupyter"):
        yield Finding(PART, OK, "Jupyter Server extension: enabled")
    else:
        text = "Jupyter Server extension: not enabled in this environment"
        yield Finding(PART, WARN, text, "jupyter server extension enable cortex_jupyter")
    folders = [Path(folder, "cortex-jupyter") for folder in jupyter_path("labextensions")]
    extension = next((folder for folder in folders if (folder / "package.json").is_file()), None)
    if extension is None:
        text = (
            "JupyterLab does not find our extension: there is no launcher, and reopened notebooks show no earlier lines"
        )
        yield Finding(PART, WARN, text, _REINSTALL)
    else:
        yield Finding(PART, OK, f"JupyterLab's extension: {extension}")
    yield bundle(_STATIC)


def bundle(folder: Path) -> Finding:
    """Check that the viewer's files exist."""
    missing = [name for name in _BUNDLE if not (folder / name).is_file() or not (folder / name).stat().st_size]
    if missing:
        return Finding(PART, BAD, f"the viewer's files {', '.join(missing)} are missing in {folder}", _REINSTALL)
    return Finding(PART, OK, "the viewer's files are installed")


async def running() -> list[Finding]:
    """Ask each Jupyter server of this user whether it has our extension."""
    async with aiohttp.ClientSession() as session:
        findings = await asyncio.gather(*(_server(session, about) for about in await asyncio.to_thread(_files)))
    return findings or [Finding(PART, TOLD, "you have no running Jupyter server")]


def _files() -> list[dict[str, Any]]:
    """Return the connection files of running servers."""
    servers = []
    for file in sorted(Path(jupyter_runtime_dir()).glob("jpserver-*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError):  # the server has ended without deleting its file
            server = json.loads(file.read_text())
            os.kill(server["pid"], 0)
            servers.append(server)
    return servers


async def _server(session: aiohttp.ClientSession, about: dict[str, Any]) -> Finding:
    url, headers = about["url"], {"Authorization": f"token {about.get('token', '')}"}
    name = f"Jupyter server {url}"
    try:
        async with session.get(URL(f"{url}cortex/openapi.json", encoded=True), headers=headers) as answer:
            status = answer.status
            version = (await answer.json())["info"]["version"] if status == 200 else ""
        async with session.get(URL(f"{url}metrics", encoded=True), headers=headers) as answer:
            has_metrics = b"cortex_jupyter_streams" in await answer.read()
    except (aiohttp.ClientError, ValueError, KeyError) as error:
        return Finding(PART, WARN, f"{name}: {type(error).__name__}: {error}", "look at its log")
    if status in (401, 403):
        return Finding(PART, TOLD, f"{name} needs a password, so it is not checked")
    if not version:
        return Finding(PART, WARN, f"{name} has no cortex-jupyter", "restart it in an environment with cortex-jupyter")
    if version != __version__:
        return Finding(
            PART, WARN, f"{name} still runs cortex-jupyter {version}; {__version__} is installed", "restart it"
        )
    metrics = "; its metrics are at /metrics" if has_metrics else ""
    return Finding(PART, OK, f"{name} has cortex-jupyter {version}{metrics}")
