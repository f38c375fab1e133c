"""URLs of stores."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from cortex_jupyter.errors import StoreError
from cortex_jupyter.store.local import local_place

#: Schemes of a store on a server.
SERVERS: Final = ("valkey:", "valkeys:")


def default_url() -> str:
    """Return `CORTEX_STORE`, else the URL of a SQLite file.

    It is at `usual_path` or, if that is not on a local disk, on one.

    Raises
    ------
    StoreError
        There is no local disk.
    """
    return os.environ.get("CORTEX_STORE") or url_of(local_place(usual_path()))


def usual_path() -> Path:
    """Return the path of a user's store in their Jupyter data directory.

    Raises
    ------
    StoreError
        There is none.
    """
    return data_folder() / "recordings.sqlite"


def data_folder() -> Path:
    """Return the folder for a user's data, in their Jupyter data directory.

    Raises
    ------
    StoreError
        There is none: a container may have neither HOME nor an entry for its UID in /etc/passwd.
    """
    from jupyter_core.paths import jupyter_data_dir

    try:
        return Path(jupyter_data_dir()).absolute() / "cortex"
    except RuntimeError as error:  # raised by pathlib
        raise StoreError(
            f"there is no place for recordings: user {os.getuid()} has no home directory",
            "set CORTEX_STORE to sqlite:///absolute/path or a server, or HOME to a folder that can be written",
        ) from error


def is_store(url: str) -> bool:
    """Return whether a URL names a store. Otherwise it may name an archive."""
    return url.startswith(("sqlite:", *SERVERS))


def is_shared(url: str) -> bool:
    """Return whether a store is on a server, where settings affect other people too."""
    return url.startswith(SERVERS)


def absolute_archive(url: str) -> str:
    """Return the URL of an archive in a form that does not depend on the current folder.

    Examples
    --------
    >>> absolute_archive("/data/../runs"), absolute_archive("s3://logs/runs"), absolute_archive("")
    ('/data/../runs', 's3://logs/runs', '')
    >>> absolute_archive("runs") == str(Path.cwd() / "runs")
    True
    """
    return url if not url or "://" in url else str(Path(url).expanduser().absolute())


def without_password(url: str) -> str:
    """Return a URL without its password, which only the server may see.

    Examples
    --------
    >>> without_password("valkey://me:secret@host/1"), without_password("valkey://host")
    ('valkey://host/1', 'valkey://host')
    """
    return re.sub(r"//.*@", "//", url)


def url_of(path: Path) -> str:
    """Return the URL of a SQLite store.

    Examples
    --------
    >>> url_of(Path("/data/my tasks.sqlite"))
    'sqlite:///data/my%20tasks.sqlite'
    """
    return f"sqlite://{quote(str(path))}"


def path_of(url: str) -> Path | None:
    """Return the file that a URL names, None if it is not a SQLite store.

    Examples
    --------
    >>> path_of("sqlite:///data/tasks.sqlite"), path_of("sqlite:////data/tasks.sqlite")
    (PosixPath('/data/tasks.sqlite'), PosixPath('/data/tasks.sqlite'))
    """
    parts = urlsplit(url)
    # Some people write an absolute path with a fourth slash, as SQLAlchemy does.
    return Path("/" + unquote(parts.path).lstrip("/")) if parts.scheme == "sqlite" and parts.path else None
