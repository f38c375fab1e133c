"""Which places are on a disk of this host: SQLite's write-ahead log is safe nowhere else.

"All processes using a database must be on the same host computer; WAL does not work over a network filesystem"
(https://www.sqlite.org/wal.html), because its readers and writers share memory. On NFS, SMB, Lustre and the like, which are
the usual homes of JupyterHub and HPC systems, a file may be damaged without a word. docs/explanation/sqlite-store.md says what we do instead.
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
#: Types that other hosts, or the host of a virtual machine, may write to as well.
_SHARED: Final = frozenset({
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs",
    "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "prl_fs", "pvfs2", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs", "wekafs",
})  # fmt: skip
#: Of these types is the root of a container in a virtual machine (Kata: docs/design/architecture/storage.md) or under
#: gVisor. Its files are the container's own, and all processes that open them share the memory of one kernel.
_CONTAINER_ROOTS: Final = frozenset(("9p", "virtiofs"))
#: Files by which Docker and Podman mark a container; a pod has KUBERNETES_SERVICE_HOST.
CONTAINER_MARKS: tuple[Path, ...] = (Path("/.dockerenv"), Path("/run/.containerenv"))
#: FUSE types of this host alone: block devices, the root of a rootless container. What is behind others nobody knows.
_LOCAL_FUSE: Final = frozenset(("fuseblk", "fuse.fuse-overlayfs"))
#: Where the file goes instead. `tempfile.gettempdir` would write here and now, which a pod with a read-only root forbids.
#: Not $XDG_RUNTIME_DIR: that is memory, and gone at logout.
PLACES: tuple[Path, ...] = (Path("/var/tmp"), Path(os.environ.get("TMPDIR") or "/tmp"))  # noqa: S108 - see `_private_folder`
_HINT: Final = "set CORTEX_STORE to sqlite:///path on a local disk, or to valkey://host"
_MEMORY_HINT: Final = (
    f"{_HINT}; sqlite:///dev/shm/recordings.sqlite keeps recordings in memory until this pod or machine ends"
)


def shared_filesystem(path: Path) -> str:
    """Return the type of the file system of a path where other hosts may write to it too, "" where it is a local one.

    A system without mountinfo (macOS) counts as local, and so does the root of a container in a virtual machine.
    """
    there = path.resolve()
    while not there.exists() and there != there.parent:
        there = there.parent
    best, found = -1, ""
    try:
        lines = MOUNTS.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        mount = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields.split()[4]))
        # A later mount at the same point hides the earlier one.
        if there.is_relative_to(mount) and len(mount.parts) >= best:
            best, found = len(mount.parts), rest.split()[0]
    if best == len(Path("/").parts) and found in _CONTAINER_ROOTS and _in_container():
        return ""
    is_fuse = found == "fuse" or found.startswith("fuse")
    return found if found in _SHARED or (is_fuse and found not in _LOCAL_FUSE) else ""


def _in_container() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ or any(mark.exists() for mark in CONTAINER_MARKS)


def check_local(path: Path) -> None:
    """Refuse a path at which SQLite could damage its file.

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
    """Return where to keep a store: at the usual path or, where that is on a network file system, on a local disk.

    The first choice of another place on a host is logged, with the way to recordings that are at the usual path.

    Raises
    ------
    StoreError
        There is no local place.
    """
    type_ = shared_filesystem(usual)
    if not type_:
        return usual
    local = [place for place in PLACES if os.access(place, os.W_OK | os.X_OK) and not shared_filesystem(place)]
    if not local:
        raise StoreError(
            f"no local disk was found for recordings: {usual} is on a network file system ({type_})", _MEMORY_HINT
        )
    folder = local[0] / f"cortex-jupyter-{os.getuid()}"
    is_new = _private_folder(folder)
    place = folder / usual.name
    if is_new:
        _log.warning("%s", explain(usual, place, type_))
    return place


def explain(usual: Path, place: Path, type_: str) -> str:
    """Return a word to the user about a store that is not at the usual path."""
    text = f"recordings are kept in {place}, on this host alone: {usual.parent} is on a network file system ({type_}), where SQLite damages its file"
    if usual.exists():
        text += (
            f". Earlier recordings are in {usual}; to go on with them, end all recorders and move that file to {place}, "
            f"with {usual.name}-wal where there is one"
        )
    return text


def _private_folder(folder: Path) -> bool:
    """Make a folder that only this user may enter; return whether it is new.

    Its parent is open to all users: one who expects us may have made a folder, or a link, of that name.

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
        raise StoreError(f"{folder} cannot be made: {error}", _HINT) from error
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StoreError(f"{folder} is not a folder of this user alone, so recordings are not kept there", _HINT)
    return is_new
