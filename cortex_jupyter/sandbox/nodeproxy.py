"""`GET /api/v1/nodes/NODE/proxy/logs/...`: the kubelet's files below `/var/log`, as it serves them.

Folders are the page of Go's `http.FileServer` (`net/http/fs.go`, `dirList`), files come as they are.
"""

from __future__ import annotations

import html
import re
import urllib.parse
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from pathlib import Path


def serve(root: Path, rest: str, wanted: str = "") -> web.StreamResponse:
    """Answer for one path.

    Parameters
    ----------
    root : Path
        The node's `/var/log`.
    rest : str
        What follows `/logs/` in the URL.
    wanted : str, optional
        The request's `Range`; the end of a file (`bytes=-N`) is all that is understood.
    """
    path = (root / rest).resolve()
    if not path.is_relative_to(root.resolve()) or not path.exists():
        return web.Response(status=404, text="404 page not found\n")
    if path.is_file():
        tail = re.fullmatch(r"bytes=-(\d+)", wanted)
        if tail:
            return web.Response(status=206, body=path.read_bytes()[-int(tail[1]) :], content_type="text/plain")
        # `as is`: without this a `.gz` would be announced as an encoding and unpacked by the client.
        return web.Response(
            body=path.read_bytes(), content_type="application/x-gzip" if path.suffix == ".gz" else "text/plain"
        )
    names = sorted(p.name + "/" * p.is_dir() for p in path.iterdir())
    links = "".join(f'<a href="{urllib.parse.quote(name)}">{html.escape(name)}</a>\n' for name in names)
    page = f'<!doctype html>\n<meta name="viewport" content="width=device-width">\n<pre>\n{links}</pre>\n'
    return web.Response(text=page, content_type="text/html")
