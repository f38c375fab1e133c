"""A store is on a local disk, wherever the home is."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.hand import Hand

from cortex_jupyter.cli.doctor.store import judge
from cortex_jupyter.errors import StoreError
from cortex_jupyter.store import default_url, local, path_of
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MOUNT = "36 27 0:42 / {at} rw,relatime shared:1 master:2 - {kind} server:/export rw\n"


@pytest.fixture
def tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the local folder of a host."""
    place = tmp_path / "var tmp"
    place.mkdir()
    monkeypatch.setattr(local, "FALLBACK_FOLDERS", (tmp_path / "absent", place))
    local.local_place.cache_clear()
    yield place
    local.local_place.cache_clear()


@pytest.fixture
def home(tmp_path: Path, tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return a function that makes a home on a file system of a type."""
    monkeypatch.delenv("CORTEX_STORE", raising=False)

    def make(kind: str) -> Path:
        path = tmp_path / "net work" / "me"
        path.mkdir(parents=True)
        root = _MOUNT.format(at="/", kind="overlay")
        mounts = root + _MOUNT.format(at=str(path.parent).replace(" ", r"\040"), kind=kind)
        (tmp_path / "mountinfo").write_text(mounts)
        monkeypatch.setattr(local, "MOUNTS", tmp_path / "mountinfo")
        monkeypatch.setenv("JUPYTER_DATA_DIR", str(path / "jupyter"))
        return path

    return make


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "afs", "9p", "ceph", "fuse", "fuse.sshfs", "virtiofs"],
)
def test_with_a_network_home_the_store_is_on_a_local_disk_and_one_message_says_so(
    home: Callable[[str], Path], tmp: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    path = home(kind)
    with contextlib.closing(open_store()) as store:
        hand = Hand(store)
        hand.lines([(1, 1, "a")])
    mine = tmp / f"cortex-jupyter-{os.getuid()}"
    assert path_of(default_url()) == mine / "recordings.sqlite" and mine.stat().st_mode & 0o777 == 0o700
    assert not (path / "jupyter").exists(), "the network home was written to"
    assert caplog.text.count("recordings are kept in") == 1 and kind in caplog.text
    caplog.clear()
    local.local_place.cache_clear()  # another process, later
    assert path_of(default_url()) == mine / "recordings.sqlite" and caplog.text == ""


@pytest.mark.parametrize("kind", ["ext4", "xfs", "overlay", "tmpfs", "btrfs", "zfs", "fuseblk", "fuse.fuse-overlayfs"])
def test_with_a_local_home_the_store_is_at_the_usual_path(home: Callable[[str], Path], kind: str) -> None:
    path = home(kind)
    assert path_of(default_url()) == path / "jupyter" / "cortex" / "recordings.sqlite"
    with contextlib.closing(open_store()):
        pass


def test_a_store_that_is_named_on_a_network_file_system_is_refused(home: Callable[[str], Path]) -> None:
    url = f"sqlite://{home('nfs4')}/logs.sqlite"
    with pytest.raises(StoreError, match=r"network file system \(nfs4\)") as caught:
        open_store(url)
    assert "local disk" in caught.value.hint
    (finding,) = judge(url, None)
    assert finding.judged == "bad" and "nfs4" in finding.text and "CORTEX_STORE" in finding.todo


def test_the_message_names_the_path_of_earlier_recordings(
    home: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = home("ext4")
    with contextlib.closing(open_store()):
        pass
    shutil.rmtree(path.parents[0] / "other", ignore_errors=True)
    mounts = local.MOUNTS.read_text()
    local.MOUNTS.write_text(mounts.replace("ext4", "nfs4"))
    local.local_place.cache_clear()
    url = default_url()
    earlier = path / "jupyter" / "cortex" / "recordings.sqlite"
    assert str(earlier) in caplog.text and "move that file" in caplog.text
    assert "recordings.sqlite-wal" in caplog.text, (
        "the message does not name the write-ahead log, which may hold the last commits"
    )
    said = [f for f in judge(url, None) if str(earlier) in f.text]
    assert len(said) == 1 and said[0].judged == "warn"


def test_a_folder_that_another_user_made_is_not_used(home: Callable[[str], Path], tmp: Path, tmp_path: Path) -> None:
    home("nfs4")
    mine, theirs = tmp / f"cortex-jupyter-{os.getuid()}", tmp_path / "theirs"
    theirs.mkdir()
    mine.symlink_to(theirs)
    with pytest.raises(StoreError, match="not a folder of this user alone"):
        default_url()
    mine.unlink()
    mine.mkdir()
    mine.chmod(0o777)
    with pytest.raises(StoreError, match="not a folder of this user alone"):
        default_url()
    if os.getuid() == 0:
        mine.chmod(0o700)
        os.chown(mine, 12345, -1)
        with pytest.raises(StoreError, match="not a folder of this user alone"):
            default_url()
    assert list(theirs.iterdir()) == []


def test_without_a_local_disk_the_error_says_what_to_set(
    home: Callable[[str], Path], tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home("nfs4")
    monkeypatch.setattr(local, "FALLBACK_FOLDERS", (path,))
    with pytest.raises(StoreError, match="no local disk") as caught:
        open_store()
    assert "CORTEX_STORE" in caught.value.hint


def test_the_innermost_and_latest_mount_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "link").symlink_to(inner)
    lines = [("/", "nfs4"), (tmp_path / "a", "nfs4"), (inner, "nfs4"), (inner, "ext4"), (f"{inner}x", "cifs")]
    (tmp_path / "mountinfo").write_text("".join(_MOUNT.format(at=at, kind=kind) for at, kind in lines))
    monkeypatch.setattr(local, "MOUNTS", tmp_path / "mountinfo")
    places = (inner / "new" / "file", tmp_path / "a" / "file", Path(f"{inner}x/file"), tmp_path / "link" / "file")
    # A path that does not exist yet is judged by its nearest existing folder.
    assert [local.shared_filesystem(place) for place in places] == ["", "nfs4", "nfs4", ""]
    (inner / "db").symlink_to(tmp_path / "a" / "file")  # SQLite writes to the target of a link
    with pytest.raises(StoreError, match="nfs4"):
        local.check_local(inner / "db")
    monkeypatch.setattr(local, "MOUNTS", tmp_path / "none")
    assert local.shared_filesystem(inner) == ""


@pytest.mark.parametrize("kind", ["virtiofs", "9p"])
def test_the_root_of_a_pod_in_a_virtual_machine_is_local_and_its_volumes_are_not(
    home: Callable[[str], Path], tmp: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Kata and gVisor show the container's root like this: it belongs to one kernel, and there is no other disk."""
    volume = home(kind)
    local.MOUNTS.write_text(local.MOUNTS.read_text().replace("overlay", kind))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert path_of(default_url()) == tmp / f"cortex-jupyter-{os.getuid()}" / "recordings.sqlite"
    with contextlib.closing(open_store()):
        pass
    with pytest.raises(StoreError, match=kind):
        local.check_local(volume / "logs.sqlite")
    local.MOUNTS.write_text(local.MOUNTS.read_text().replace(kind, "nfs4"))
    assert local.shared_filesystem(tmp) == "nfs4", "the network root of a diskless node counts as local"


def test_the_package_can_be_imported_on_a_read_only_root() -> None:
    """As in a pod with `readOnlyRootFilesystem` that records on Valkey."""
    code = "import tempfile; tempfile._candidate_tempdir_list = lambda: []\nimport cortex_jupyter.store"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


@pytest.mark.parametrize("kind", ["virtiofs", "9p"])
def test_the_root_of_a_virtual_machine_on_host_files_is_not_local(
    home: Callable[[str], Path], tmp: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A virtual machine may run on files of its host, whose users write to them too."""
    home(kind)
    local.MOUNTS.write_text(local.MOUNTS.read_text().replace("overlay", kind))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(local, "CONTAINER_MARKS", ())
    with pytest.raises(StoreError, match="no local disk") as caught:
        open_store()
    assert "/dev/shm" in caught.value.hint


def _mounts() -> bool:
    return bool(shutil.which("bindfs") and shutil.which("fusermount3")) and os.access("/dev/fuse", os.W_OK)


@pytest.mark.skipif(not _mounts(), reason="no FUSE file system can be mounted here (bindfs)")
def test_on_a_real_fuse_file_system(tmp_path: Path) -> None:
    """For a user with such a home the store is elsewhere and works, and doctor says so."""
    disk, mount, tmp = (tmp_path / name for name in ("disk", "mount", "tmp"))
    for folder in (disk, mount, tmp):
        folder.mkdir()
    subprocess.run(["bindfs", disk, mount], check=True)
    try:
        home = mount / "me"
        home.mkdir()
        code = (
            "import sys\nfrom pathlib import Path\nfrom cortex_jupyter.store import local\n"
            "local.FALLBACK_FOLDERS = (Path(sys.argv.pop(1)),)\nfrom cortex_jupyter.cli.command_line import run\nsys.exit(run())"
        )
        env = {k: v for k, v in os.environ.items() if not k.startswith(("CORTEX_", "XDG_", "JUPYTER_"))}
        env |= {"HOME": str(home), "KUBECONFIG": str(tmp_path / "none")}
        command = [sys.executable, "-c", code, str(tmp)]
        done = subprocess.run([*command, "tasks"], env=env, capture_output=True, text=True, check=False)
        assert f"recordings are kept in {tmp}/cortex-jupyter-" in done.stderr and "(fuse" in done.stderr
        assert [*tmp.glob("cortex-jupyter-*/recordings.sqlite")] and not [*disk.rglob("*.sqlite*")]
        again = subprocess.run([*command, "doctor"], env=env, capture_output=True, text=True, check=False)
        assert "recordings are kept in" in again.stdout and str(tmp) in again.stdout
        env["CORTEX_STORE"] = f"sqlite://{home}/mine.sqlite"
        refused = subprocess.run([*command, "tasks"], env=env, capture_output=True, text=True, check=False)
        assert refused.returncode == 1 and "network file system (fuse" in refused.stderr
    finally:
        subprocess.run(["fusermount3", "-u", mount], check=True)


def test_a_complete_store_on_a_read_only_network_disk_can_be_read(
    home: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process writes there, so nothing can be damaged."""
    path = home("ext4") / "kept.sqlite"
    with contextlib.closing(SqliteStore(path)) as store:
        id_ = Hand(store).id
    local.MOUNTS.write_text(local.MOUNTS.read_text().replace("ext4", "nfs4"))
    monkeypatch.setattr("cortex_jupyter.store.sqlite.connections._sealed", lambda _: True)
    with contextlib.closing(SqliteStore(path)) as store:
        assert store.info(id_) is not None
