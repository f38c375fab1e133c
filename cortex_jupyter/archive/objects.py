"""A folder or a bucket, named by its URL. Every error says what to do."""

from __future__ import annotations

import contextlib
import os
import secrets
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, unquote, urlsplit

from cortex_jupyter.archive.error_mapping import access_error, bad_address
from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.errors import ArchiveNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SCHEMES: Final = ("s3", "s3a", "gs", "az", "abfs", "abfss", "http", "https", "file")
#: Time limit of retries of a failed request (seconds): a user may be waiting for a page.
_PATIENCE_S: Final = 20
_TIMEOUT_S: Final = 60
#: Number of attempts for failures that obstore does not retry.
_ATTEMPTS: Final = 5
#: Size of a part of an upload in bytes. S3 accepts 10 000 parts.
_PART: Final = 16 << 20
#: Number of parts that are uploaded at the same time.
_PARTS: Final = 4


class ObjectStore:
    """All objects below one URL.

    Parameters
    ----------
    url : str
        `/folder`, `file:///folder`, `s3://bucket/prefix`, `gs://...`, `az://...`. Credentials and endpoints come from
        the environment (see `error_mapping`).

    Raises
    ------
    ArchiveError
        The URL names no folder or bucket.
    MissingExtra
        obstore is not installed.
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
                _literal(self.url),
                client_options={"timeout": f"{_TIMEOUT_S}s", "connect_timeout": "5s", "allow_http": True},
                retry_config={"max_retries": 6, "retry_timeout": _seconds(_PATIENCE_S)},
            )
        except (ValueError, OSError, self._api.exceptions.BaseError) as error:
            raise bad_address(url, error) from error

    @classmethod
    def holding(cls, url: str) -> tuple[Self, str]:
        """Return the folder or bucket that holds an object, and the object's name in it.

        Examples
        --------
        >>> ObjectStore.holding("/tmp/a/b.parquet")[1]
        'b.parquet'
        """
        parent, _, name = url.rpartition("/")
        return cls(parent if parent or not url.startswith("/") else "/") if parent else cls("."), name

    def path(self, name: str) -> str:
        """Return an object's path or URL for other libraries (polars, DuckDB, pyarrow)."""
        return str(self.folder / name) if self.folder is not None else f"{self.url}/{name}"

    def put(self, name: str, content: bytes | Callable[[], Iterable[bytes]]) -> None:
        """Write an object. It appears as a whole or not at all.

        Parameters
        ----------
        name : str
        content : bytes or callable
            A callable returns an iterable of bytes, which is uploaded in parts, so its size does not matter. It may be
            called again.

        Raises
        ------
        ArchiveError
            Exceptions of `content` are raised too. Nothing is written then.
        """

        def upload() -> None:
            if self.folder is not None:
                _write_file(self.folder, name, [content] if isinstance(content, bytes) else content())
            elif isinstance(content, bytes):
                self._api.put(self._store, name, content, use_multipart=False)
            else:
                self._api.put(self._store, name, content(), chunk_size=_PART, max_concurrency=_PARTS)

        with self._errors(name, "written"):
            # Completing an upload to Azure discards the parts of another upload of the same object.
            self._retry("InvalidBlockList", upload)

    def get(self, name: str) -> bytes:
        """Return the content of an object.

        Raises
        ------
        ArchiveNotFound, ArchiveError
        """
        with self._errors(name, "read"):
            return bytes(self._api.get(self._store, name).bytes())

    def range(self, name: str, start: int, end: int) -> bytes:
        """Return the bytes from `start` to before `end`.

        Raises
        ------
        ArchiveNotFound, ArchiveError
        """
        with self._errors(name, "read"):
            return bytes(self._api.get_range(self._store, name, start=start, end=end))

    def size(self, name: str) -> int:
        """Return an object's size in bytes.

        Raises
        ------
        ArchiveNotFound, ArchiveError
        """
        with self._errors(name, "read"):
            return int(self._api.head(self._store, name)["size"])

    def list_objects(self, prefix: str = "") -> list[tuple[str, str]]:
        """Return name and tag of all objects below a prefix. Changed content has another tag.

        Raises
        ------
        ArchiveError
        """
        listed = self._list(prefix)
        return [(entry["path"], entry["e_tag"] or f"{entry['last_modified']} {entry['size']}") for entry in listed]

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the sizes in bytes of all objects below a prefix, by name.

        Raises
        ------
        ArchiveError
        """
        return {entry["path"]: int(entry["size"]) for entry in self._list(prefix)}

    def _list(self, prefix: str) -> list[Any]:
        def entries() -> list[Any]:
            return [entry for chunk in self._api.list(self._store, prefix or None, chunk_size=1000) for entry in chunk]

        with self._errors(prefix, "listed"):
            listed: list[Any] = self._retry("kind: Interrupted", entries)  # the answer ended early
        return listed

    def delete(self, name: str) -> None:
        """Delete an object if it exists; in a folder also what interrupted writers of it left, and folders that are then empty.

        Raises
        ------
        ArchiveError
        """
        with contextlib.suppress(ArchiveNotFound), self._errors(name, "deleted"):
            self._api.delete(self._store, name)
        if self.folder is None:
            return
        path = self.folder / name
        with self._errors(name, "deleted"):
            for unfinished in path.parent.glob(f"{escape(path.name)}#*"):
                unfinished.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # another object is in it
            for parent in path.relative_to(self.folder).parents[:-1]:
                (self.folder / parent).rmdir()

    def _retry(self, message_part: str, operation: Callable[[], Any]) -> Any:
        """Retry an operation whose error message contains `message_part`, which obstore itself does not retry."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return operation()
            except self._api.exceptions.BaseError as error:
                if message_part not in str(error):
                    raise
        return operation()

    @contextlib.contextmanager
    def _errors(self, name: str, action: str) -> Iterator[None]:
        kinds = self._api.exceptions
        try:
            yield
        except (kinds.NotFoundError, FileNotFoundError) as error:
            if action == "written":  # then the bucket does not exist
                raise access_error(self.path(name), action, error) from error
            raise ArchiveNotFound(f"{self.path(name)} does not exist") from error
        except (kinds.PermissionDeniedError, kinds.UnauthenticatedError) as error:
            raise access_error(self.path(name), action, error, refused=True) from error
        except (kinds.BaseError, OSError, ValueError) as error:
            raise access_error(self.path(name), action, error) from error


def folder_of(url: str) -> Path | None:
    """Return the folder that a URL names; None if it names something else, such as a bucket or an https:// address.

    Examples
    --------
    >>> folder_of("file:///a%20b"), folder_of("s3://bucket/x")
    (PosixPath('/a b'), None)
    """
    if url.startswith("file://"):
        return Path(unquote(urlsplit(url).path))
    return None if "://" in url else Path(url).expanduser().absolute()


def _make_folder(path: Path, mode: int = 0o700) -> None:
    """Create a folder and its missing parents with a mode, whatever the umask is. Existing ones stay as they are."""
    for folder in reversed([path, *path.parents]):
        if folder.exists():
            continue
        with contextlib.suppress(FileExistsError):  # another process created it
            folder.mkdir(mode=0o700)
            actual = folder.stat().st_mode
            if actual & 0o1777 != mode:
                folder.chmod(actual & 0o6000 | mode)  # keep the inherited setgid bit


def _write_file(root: Path, name: str, pieces: Iterable[bytes]) -> None:
    """Write a file below a folder. It appears once all of it is on the disk, also after a power cut.

    Users who may enter and read the root folder may read the file too: an administrator makes such a folder for a
    team. A folder that we create is for its owner only. obstore would follow the process's umask instead.
    """
    _make_folder(root)  # it may have been deleted meanwhile
    path, shared = root / name, root.stat().st_mode & 0o1077
    _make_folder(path.parent, 0o700 | shared)
    # obstore does not list names that end with `#` and digits, which its own unfinished files have.
    unfinished = path.with_name(f"{path.name}#{secrets.randbits(32)}")
    try:
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            if shared & 0o044 & ~os.fstat(file.fileno()).st_mode:  # a mount may impose modes
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
        with contextlib.suppress(OSError):  # some network file systems cannot sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _literal(url: str) -> str:
    """Return a bucket's URL such that obstore takes its names literally, as other libraries do.

    Examples
    --------
    >>> _literal("s3://logs/ml/selector/app%3Dx #1")
    's3://logs/ml/selector/app%253Dx%20%231'
    """
    scheme, _, rest = url.partition("://")
    bucket, slash, path = rest.partition("/")
    return url if scheme in ("http", "https") else f"{scheme}://{bucket}{slash}{quote(path)}"


def _seconds(seconds: float) -> Any:
    from datetime import timedelta

    return timedelta(seconds=seconds)
