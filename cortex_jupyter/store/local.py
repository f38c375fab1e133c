"""Find out which paths are on a disk of this host: SQLite's write-ahead log is safe only there.

On network file systems such as NFS, SMB and Lustre, the usual homes of JupyterHub and HPC systems, a file may be damaged silently.
docs/explanation/sqlite-store.md explains why, and what we do instead.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from functools import lru_cache
from pathlib import Path
from typing import Final

from cortex_jupyter.errors import StoreError

_log = logging.getLogger(__name__)

#: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
MOUNTS = Path("/proc/self/mountinfo")
#: File systems that other hosts, or the host of a virtual machine, may write to as well.
# Not formatted: thirty words would take thirty lines.
_SHARED: Final = frozenset({
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
    "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs", "wekafs",
})  # fmt: skip
#: The root of a container in a virtual machine (Kata: docs/design/architecture/storage.md) or under gVisor is of these
#: types. Its files belong to the container only, and all processes that open them share one kernel's memory.
_CONTAINER_ROOTS: Final = frozenset(("9p", "virtiofs"))
#: Files that Docker and Podman create in a container. In a pod, KUBERNETES_SERVICE_HOST is set.
CONTAINER_MARKS: tuple[Path, ...] = (Path("/.dockerenv"), Path("/run/.containerenv"))
#: FUSE types that are local: block devices, and the root of a rootless container. The place of other types' data is unknown.
_LOCAL_FUSE: Final = frozenset(("fuseblk", "fuse.fuse-overlayfs"))
#: Folders for the store if its usual folder is on a shared file system. `tempfile.gettempdir` would write during the
#: import, which a pod with a read-only root forbids. $XDG_RUNTIME_DIR does not serve: it is in memory and is deleted at
#: logout.
FALLBACK_FOLDERS: tuple[Path, ...] = (Path("/var/tmp"), Path(os.environ.get("TMPDIR") or "/tmp"))  # noqa: S108 - see `_private_folder`
_HINT: Final = "set CORTEX_STORE to sqlite:///path on a local disk, or to valkey://host"
_MEMORY_HINT: Final = (
    f"{_HINT}; sqlite:///dev/shm/recordings.sqlite keeps recordings in memory until this pod or machine ends"
)


def shared_filesystem(path: Path) -> str:
    """Return the type of a path's file system if other hosts may write to it too, "" if it is local.

    A system without mountinfo (macOS) counts as local, and so does the root of a container in a virtual machine.
    """
    existing = path.resolve()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    depth, type_ = -1, ""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        mount = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields.split()[4]))
        # A later mount at the same point hides the earlier one.
        if existing.is_relative_to(mount) and len(mount.parts) >= depth:
            depth, type_ = len(mount.parts), rest.split()[0]
    if depth == len(Path("/").parts) and type_ in _CONTAINER_ROOTS and _in_container():
        return ""
    is_fuse = type_.startswith("fuse")
    return type_ if type_ in _SHARED or (is_fuse and type_ not in _LOCAL_FUSE) else ""


def _in_container() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ or any(mark.exists() for mark in CONTAINER_MARKS)


def check_local(path: Path) -> None:
    """Check that SQLite is safe at a path.

    Raises
    ------
    StoreError
    """
    if type_ := shared_filesystem(path):
        raise StoreError(
            f"recordings cannot be kept in {path}: it is on a network file system ({type_}), where SQLite damages its file",
            f"{_HINT}; without CORTEX_STORE a local place is chosen",
        )


@lru_cache(maxsize=8)
def local_place(usual: Path) -> Path:
    """Return where to keep a store: the usual path or, if that is on a network file system, a local disk.

    The first time a host uses another place, a log message says so and where earlier recordings are.

    Raises
    ------
    StoreError
        There is no local disk that can be written.
    """
    type_ = shared_filesystem(usual)
    if not type_:
        return usual
    local = [
        folder for folder in FALLBACK_FOLDERS if os.access(folder, os.W_OK | os.X_OK) and not shared_filesystem(folder)
    ]
    if not local:
        raise StoreError(
            f"no local disk was found for recordings: {usual} is on a network file system ({type_})", _MEMORY_HINT
        )
    folder = local[0] / f"cortex-jupyter-{os.getuid()}"
    is_new = _private_folder(folder)
    local_path = folder / usual.name
    if is_new:
        _log.warning("%s", explain(usual, local_path, type_))
    return local_path


def explain(usual: Path, local_path: Path, type_: str) -> str:
    """Return a message to the user about a store that is not at the usual path."""
    text = f"recordings are kept in {local_path}, on this host alone: {usual.parent} is on a network file system ({type_}), where SQLite damages its file"
    if usual.exists():
        text += (
            f". Earlier recordings are in {usual}; to go on with them, end all recorders and move that file to {local_path}, "
            f"with {usual.name}-wal where there is one"
        )
    return text


def _private_folder(folder: Path) -> bool:
    """Make a folder that only this user may enter; return whether it is new.

    All users may write to its parent, so another user may have made a folder or link of that name in advance.

    Raises
    ------
    StoreError
    """
    is_new = True
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        is_new = False
    except OSError as error:
        raise StoreError(f"cannot create {folder}: {error}", _HINT) from error
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise StoreError(f"{folder} is not a folder of this user alone, so recordings are not kept there", _HINT)
    return is_new
