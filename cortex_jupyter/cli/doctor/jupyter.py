"""Jupyter in this environment, and the servers of this user that run now."""

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
_BUNDLE: Final = ("loader.js", "viewer.js", "store.js", "viewer.css", "page.js", "page.css")
_AGAIN: Final = "pip install --force-reinstall --no-deps cortex-jupyter (from its folder: make setup)"


def installed() -> Iterator[Finding]:
    """Look at what Jupyter finds of ours."""
    from jupyter_server.extension.config import ExtensionConfigManager  # noqa: PLC0415 - 0.3 s

    manager: Any = ExtensionConfigManager(read_config_path=jupyter_config_path())
    if manager.get_jpserver_extensions().get("cortex_jupyter"):
        yield Finding(PART, OK, "Jupyter Server extension: enabled")
    else:
        text = "Jupyter Server extension: not enabled in this environment"
        yield Finding(PART, WARN, text, "jupyter server extension enable cortex_jupyter")
    folders = [Path(folder, "cortex-jupyter") for folder in jupyter_path("labextensions")]
    found = next((folder for folder in folders if (folder / "package.json").is_file()), None)
    if found is None:
        text = "JupyterLab's extension is not found: no launcher, no kept lines of a notebook of another day"
        yield Finding(PART, WARN, text, _AGAIN)
    else:
        yield Finding(PART, OK, f"JupyterLab's extension: {found}")
    yield bundle(_STATIC)


def bundle(folder: Path) -> Finding:
    """Judge whether the viewer's files are there."""
    missing = [name for name in _BUNDLE if not (folder / name).is_file() or not (folder / name).stat().st_size]
    if missing:
        return Finding(PART, BAD, f"the viewer lacks {', '.join(missing)} in {folder}", _AGAIN)
    return Finding(PART, OK, "the viewer's files are there")


async def running() -> list[Finding]:
    """Ask each Jupyter server of this user whether it has our extension."""
    async with aiohttp.ClientSession() as session:
        found = await asyncio.gather(*(_server(session, about) for about in await asyncio.to_thread(_files)))
    return found or [Finding(PART, TOLD, "no Jupyter server of yours runs now")]


def _files() -> list[dict[str, Any]]:
    """Give what the servers that live have written of themselves."""
    found = []
    for file in sorted(Path(jupyter_runtime_dir()).glob("jpserver-*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError):  # it has ended, and left its file
            about = json.loads(file.read_text())
            os.kill(about["pid"], 0)
            found.append(about)
    return found


async def _server(session: aiohttp.ClientSession, about: dict[str, Any]) -> Finding:
    url, headers = about["url"], {"Authorization": f"token {about.get('token', '')}"}
    name = f"Jupyter server {url}"
    try:
        async with session.get(URL(f"{url}cortex/openapi.json", encoded=True), headers=headers) as answer:
            status = answer.status
            version = (await answer.json())["info"]["version"] if status == 200 else ""  # noqa: PLR2004
        async with session.get(URL(f"{url}metrics", encoded=True), headers=headers) as answer:
            counted = b"cortex_streams" in await answer.read()
    except (aiohttp.ClientError, ValueError, KeyError) as error:
        return Finding(PART, WARN, f"{name}: {type(error).__name__}: {error}", "look at its log")
    if status in (401, 403):
        return Finding(PART, TOLD, f"{name} wants a password, so it is not looked at")
    if not version:
        return Finding(
            PART, WARN, f"{name} has no cortex-jupyter", "start it anew, in an environment with cortex-jupyter"
        )
    if version != __version__:
        return Finding(
            PART, WARN, f"{name} still runs cortex-jupyter {version}, here is {__version__}", "start it anew"
        )
    metrics = ", its metrics in /metrics" if counted else ""
    return Finding(PART, OK, f"{name} has cortex-jupyter {version}{metrics}")
