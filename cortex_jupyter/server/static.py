"""`GET cortex/static/NAME`: the front end as it was built, for the viewer's own page."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from jupyter_server.auth.decorator import authorized
from tornado import web

from cortex_jupyter.errors import NotFound
from cortex_jupyter.server.base import Handler

#: By path: the room of notebooks, where the widget is, comes after this one.
_STATIC: Final = Path(__file__).parents[1] / "notebook" / "static"
_TYPES: Final = {
    "page.js": "text/javascript",
    "page.css": "text/css",
    "viewer.css": "text/css",
    "store.js": "text/javascript",
}


@cache
def part(name: str) -> tuple[bytes, str]:
    """Read one of the files that pages may have.

    Returns
    -------
    tuple of bytes and str
        What it says, and a name for just that.

    Raises
    ------
    NotFound
    """
    path = _STATIC / name
    if name not in _TYPES or not path.is_file():
        raise NotFound(f"there is no file {name[:60]!r}", f"there are {', '.join(sorted(_TYPES))}, once built")
    body = path.read_bytes()
    return body, hashlib.sha256(body).hexdigest()[:16]


def address_of(name: str) -> str:
    """Give a file's address below `cortex/`; another build has another one, so that it may be kept for ever.

    Raises
    ------
    NotFound
    """
    return f"static/{name}?v={part(name)[1]}"


class StaticHandler(Handler):
    """A file of the front end."""

    @web.authenticated
    @authorized
    async def get(self, name: str) -> None:
        """Give it."""
        body, version = part(name)
        self.set_header("Etag", f'"{version}"')
        self.set_header("Cache-Control", "private, max-age=31536000, immutable")
        if self.check_etag_header():
            self.set_status(304)
            await self.finish()
            return
        await self.finish(body, set_content_type=f"{_TYPES[name]}; charset=utf-8")
