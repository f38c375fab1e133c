"""The URLs of stores."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from cortex_jupyter.errors import StoreError
from cortex_jupyter.store.local import local_place

#: How the URL of a store on a server begins.
SERVERS: Final = ("valkey:", "valkeys:")


def default_url() -> str:
    """Return `CORTEX_STORE`, else the URL of a SQLite file: at `usual_path`, or on a local disk where that is on none.

    Raises
    ------
    StoreError
        There is no local disk.
    """
    return os.environ.get("CORTEX_STORE") or url_of(local_place(usual_path()))


def usual_path() -> Path:
    """Return the path of a user's store: below their Jupyter data directory.

    Raises
    ------
    StoreError
        There is none.
    """
    return data_folder() / "recordings.sqlite"


def data_folder() -> Path:
    """Return the folder for what we keep of a user: below their Jupyter data directory.

    Raises
    ------
    StoreError
        There is none: a container may have neither HOME nor an entry for its UID in /etc/passwd.
    """
    from jupyter_core.paths import jupyter_data_dir  # noqa: PLC0415

    try:
        return Path(jupyter_data_dir()).absolute() / "cortex"
    except RuntimeError as error:  # pathlib's
        raise StoreError(
            f"there is no place for recordings: user {os.getuid()} has no home directory",
            "set CORTEX_STORE to sqlite:///absolute/path or a server, or HOME to a folder that can be written",
        ) from error


def is_store(url: str) -> bool:
    """Tell whether a URL names a store; else it may name an archive."""
    return url.startswith(("sqlite:", *SERVERS))


def is_shared(url: str) -> bool:
    """Return whether a store is on a server, where what is set holds for other people too."""
    return url.startswith(SERVERS)


def absolute_archive(url: str) -> str:
    """Return the URL of an archive so that it means the same in every process, whatever its current folder is.

    Examples
    --------
    >>> absolute_archive("/data/../runs"), absolute_archive("s3://logs/runs"), absolute_archive("")
    ('/data/../runs', 's3://logs/runs', '')
    >>> absolute_archive("runs") == str(Path.cwd() / "runs")
    True
    """
    return url if not url or "://" in url else str(Path(url).expanduser().absolute())


def without_password(url: str) -> str:
    """Give a URL as it may be told: a password is for the server alone.

    Examples
    --------
    >>> without_password("valkey://me:secret@host/1"), without_password("valkey://host")
    ('valkey://host/1', 'valkey://host')
    """
    return re.sub(r"//.*@", "//", url)


def url_of(path: Path) -> str:
    """Give the URL of a SQLite store.

    Examples
    --------
    >>> url_of(Path("/data/my tasks.sqlite"))
    'sqlite:///data/my%20tasks.sqlite'
    """
    return f"sqlite://{quote(str(path))}"


def path_of(url: str) -> Path | None:
    """Give the file a URL names, None where it is of another kind.

    Examples
    --------
    >>> path_of("sqlite:///data/tasks.sqlite"), path_of("sqlite:////data/tasks.sqlite")
    (PosixPath('/data/tasks.sqlite'), PosixPath('/data/tasks.sqlite'))
    """
    parts = urlsplit(url)
    # Some write an absolute path with a fourth slash, as SQLAlchemy has it.
    return Path("/" + unquote(parts.path).lstrip("/")) if parts.scheme == "sqlite" and parts.path else None
