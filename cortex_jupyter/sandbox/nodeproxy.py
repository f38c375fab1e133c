"""`GET /api/v1/nodes/NODE/proxy/logs/...`: the kubelet's files below `/var/log`, as it serves them.

Folders are the page of Go's `http.FileServer` (`net/http/fs.go`, `dirList`), files come as they are.
"""

from __future__ import annotations

import html
import urllib.parse
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path


def serve(root: Path, rest: str) -> web.StreamResponse:
    """Answer for one path.

    Parameters
    ----------
    root : Path
        The node's `/var/log`.
    rest : str
        What follows `/logs/` in the URL.
    """
    path = (root / rest).resolve()
    if not path.is_relative_to(root.resolve()) or not path.exists():
        return web.Response(status=404, text="404 page not found\n")
    if path.is_file():
        # `as is`: without this a `.gz` would be announced as an encoding and unpacked by the client.
        return web.Response(
            body=path.read_bytes(), content_type="application/x-gzip" if path.suffix == ".gz" else "text/plain"
        )
    names = sorted(p.name + "/" * p.is_dir() for p in path.iterdir())
    links = "".join(f'<a href="{urllib.parse.quote(name)}">{html.escape(name)}</a>\n' for name in names)
    page = f'<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n{links}</pre>\n'
    return web.Response(text=page, content_type="text/html")
