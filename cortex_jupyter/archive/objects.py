"""A folder or a bucket by its URL; each failure says what to do about it."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, unquote, urlsplit

from cortex_jupyter.archive.error_mapping import access_error, bad_address
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import ArchiveNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SCHEMES: Final = ("s3", "s3a", "gs", "az", "abfs", "abfss", "http", "https", "file")
#: A reader waits in front of a page: it tries again for so long, seconds, and no longer.
_PATIENCE_S: Final = 20
_TIMEOUT_S: Final = 60
#: What obstore does not try again is tried so often.
_TIMES: Final = 5
#: A part of what goes up while it is made, bytes, of which S3 takes 10 000; and how many are on the way at once.
_PART, _PARTS = 16 << 20, 4


class ObjectStore:
    """Everything below one URL.

    Parameters
    ----------
    url : str
        `/folder`, `file:///folder`, `s3://bucket/prefix`, `gs://...`, `az://...`. Credentials and endpoints are those of
        the environment (see `access`).

    Raises
    ------
    ArchiveError
        The URL names no such place.
    MissingExtra
        There is no obstore.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        stores, obstore = import_optional("obstore.store"), import_optional("obstore")
        self._api: Any = obstore
        self.folder = folder_of(url)
        try:
            if self.folder is not None:
                _make_folder(self.folder)
                self._store: Any = stores.LocalStore(self.folder)
                return
            if urlsplit(url).scheme not in SCHEMES:
                raise bad_address(url)
            self._store = stores.from_url(
                _as_written(self.url),
                client_options={"timeout": f"{_TIMEOUT_S}s", "connect_timeout": "5s", "allow_http": True},
                retry_config={"max_retries": 6, "retry_timeout": _seconds(_PATIENCE_S)},
            )
        except (ValueError, OSError, self._api.exceptions.BaseError) as error:
            raise bad_address(url, error) from error

    @classmethod
    def beside(cls, url: str) -> tuple[Self, str]:
        """Give the place that holds one object, and its name there.

        Examples
        --------
        >>> ObjectStore.beside("/tmp/a/b.parquet")[1]
        'b.parquet'
        """
        parent, _, name = url.rpartition("/")
        return cls(parent if parent or not url.startswith("/") else "/") if parent else cls("."), name

    def path(self, name: str) -> str:
        """Give what other libraries (polars, DuckDB, pyarrow) call an object: a path, or a URL."""
        return str(self.folder / name) if self.folder is not None else f"{self.url}/{name}"

    def put(self, name: str, content: bytes | Callable[[], Iterable[bytes]]) -> None:
        """Write an object; it is there whole or not at all.

        Parameters
        ----------
        name : str
        content : bytes or callable
            What gives its bytes by and by goes up in parts, so that its size does not matter; it may be called again.

        Raises
        ------
        ArchiveError
            What `content` raises is raised as well, and nothing is written.
        """

        def upload() -> None:
            if self.folder is not None:
                _write_file(self.folder, name, [content] if isinstance(content, bytes) else content())
            elif isinstance(content, bytes):
                self._api.put(self._store, name, content, use_multipart=False)
            else:
                self._api.put(self._store, name, content(), chunk_size=_PART, max_concurrency=_PARTS)

        with self._errors(name, "written"):
            # Who completes an upload to Azure throws away the parts of another of the same object.
            self._again("InvalidBlockList", upload)

    def get(self, name: str) -> bytes:
        """Read an object.

        Raises
        ------
        ArchiveNotFound, ArchiveError
        """
        with self._errors(name, "read"):
            return bytes(self._api.get(self._store, name).bytes())

    def range(self, name: str, start: int, end: int) -> bytes:
        """Read the bytes from `start` up to, without, `end`.

        Raises
        ------
        ArchiveNotFound, ArchiveError
        """
        with self._errors(name, "read"):
            return bytes(self._api.get_range(self._store, name, start=start, end=end))

    def size(self, name: str) -> int:
        """Give an object's size, bytes.

        Raises
        ------
        ArchiveNotFound, ArchiveError
        """
        with self._errors(name, "read"):
            return int(self._api.head(self._store, name)["size"])

    def listed(self, prefix: str = "") -> list[tuple[str, str]]:
        """Give name and tag of all objects below a prefix; another content has another tag.

        Raises
        ------
        ArchiveError
        """

        def found() -> list[Any]:
            return [one for piece in self._api.list(self._store, prefix or None, chunk_size=1000) for one in piece]

        with self._errors(prefix, "listed"):
            listed = self._again("kind: Interrupted", found)  # an answer that ends early
        return [(one["path"], one["e_tag"] or f"{one['last_modified']} {one['size']}") for one in listed]

    def delete(self, name: str) -> None:
        """Delete an object, where it is.

        Raises
        ------
        ArchiveError
        """
        with contextlib.suppress(ArchiveNotFound), self._errors(name, "deleted"):
            self._api.delete(self._store, name)

    def _again(self, failing: str, do: Callable[[], Any]) -> Any:
        """Do again what obstore does only once, while it fails so."""
        for _ in range(_TIMES - 1):
            try:
                return do()
            except self._api.exceptions.BaseError as error:
                if failing not in str(error):
                    raise
        return do()

    @contextlib.contextmanager
    def _errors(self, name: str, what: str) -> Iterator[None]:
        kinds = self._api.exceptions
        try:
            yield
        except (kinds.NotFoundError, FileNotFoundError) as error:
            if what == "written":  # then it is the bucket that is not there
                raise access_error(self.path(name), what, error) from error
            raise ArchiveNotFound(f"{self.path(name)} is not there") from error
        except (kinds.PermissionDeniedError, kinds.UnauthenticatedError) as error:
            raise access_error(self.path(name), what, error, refused=True) from error
        except (kinds.BaseError, OSError, ValueError) as error:
            raise access_error(self.path(name), what, error) from error


def folder_of(url: str) -> Path | None:
    """Give the folder that a URL means, None for one of a network.

    Examples
    --------
    >>> folder_of("file:///a%20b"), folder_of("s3://bucket/x")
    (PosixPath('/a b'), None)
    """
    if url.startswith("file://"):
        return Path(unquote(urlsplit(url).path))
    return None if "://" in url else Path(url).expanduser().absolute()


def _make_folder(path: Path, mode: int = 0o700) -> None:
    """Create a folder and its missing parents with a mode, whatever the umask is; leave those that exist as they are."""
    for folder in reversed([path, *path.parents]):
        if folder.exists():
            continue
        with contextlib.suppress(FileExistsError):  # another process was first
            folder.mkdir(mode=0o700)
            made = folder.stat().st_mode
            if made & 0o1777 != mode:
                folder.chmod(made & 0o6000 | mode)  # the group and its bit are inherited


def _write_file(root: Path, name: str, pieces: Iterable[bytes]) -> None:
    """Write a file below a folder; it appears when all of it is on the disk, also after a power cut.

    Users who may enter and read the root folder may do so below it: an administrator makes it for a team. A folder that
    we made is for its owner alone. obstore would write with the process's umask.
    """
    _make_folder(root)  # it may have been removed
    path, shared = root / name, root.stat().st_mode & 0o1077
    _make_folder(path.parent, 0o700 | shared)
    # obstore lists no name that ends with `#` and digits: its own unfinished files have such names too.
    unfinished = path.with_name(f"{path.name}#{secrets.randbits(32)}")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            if shared & 0o044 & ~os.fstat(file.fileno()).st_mode:  # a mount may have modes of its own
                os.fchmod(file.fileno(), 0o600 | shared & 0o044)
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems sync no folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _as_written(url: str) -> str:
    """Give what makes obstore take the names of a bucket's URL as they stand there, as other libraries do.

    Examples
    --------
    >>> _as_written("s3://logs/ml/selector/app%3Dx #1")
    's3://logs/ml/selector/app%253Dx%20%231'
    """
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return url if scheme in ("http", "https") else f"{scheme}://{place}{slash}{quote(path)}"


def url_of(path: Path) -> str:
    """Give the URL of a folder."""
    return f"file://{quote(str(path.absolute()))}"


def _seconds(seconds: float) -> Any:
    from datetime import timedelta  # noqa: PLC0415

    return timedelta(seconds=seconds)
