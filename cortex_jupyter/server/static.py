"""`GET cortex/static/NAME`: the built files of the viewer, for its own page."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.errors import NotFound
from cortex_jupyter.server.base import Handler

#: The widget and this page use the same files. Found by path, because this room does not import `notebook`.
_STATIC: Final = Path(__file__).parents[1] / "notebook" / "static"
_TYPES: Final = {
    "page.js": "text/javascript",
    "page.css": "text/css",
    "tasks.js": "text/javascript",
    "tasks.css": "text/css",
    "viewer.css": "text/css",
    "store.js": "text/javascript",
    "charts.js": "text/javascript",
    "panels.js": "text/javascript",
}


@cache
def read_file(name: str) -> tuple[bytes, str]:
    """Read one of the viewer's files.

    Returns
    -------
    tuple of bytes and str
        The content, and a hash of it.

    Raises
    ------
    NotFound
    """
    path = _STATIC / name
    if name not in _TYPES or not path.is_file():
        raise NotFound(
            f"there is no file {name[:60]!r}", f"the files are {', '.join(sorted(_TYPES))}, after `make setup`"
        )
    body = path.read_bytes()
    return body, hashlib.sha256(body).hexdigest()[:16]


def address_of(name: str) -> str:
    """Return a file's address below `cortex/`. Each build has its own address, so browsers may cache the file for ever.

    Raises
    ------
    NotFound
    """
    return f"static/{name}?v={read_file(name)[1]}"


class StaticHandler(Handler):
    """A file of the viewer."""

    is_audited = False

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Answer with the file."""
        body, version = read_file(name)
        self.set_header("Etag", f'"{version}"')
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        if self.check_etag_header():
            self.set_status(304)
            await self.finish()
            return
        await self.finish(body, set_content_type=f"{_TYPES[name]}; charset=utf-8")
