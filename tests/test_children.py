"""The processes that we start import no module from the current folder of their parent."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import cortex_jupyter
from cortex_jupyter.cli import demo
from cortex_jupyter.errors import CortexError
from cortex_jupyter.query import regex_worker
from cortex_jupyter.reader.levels import LevelCounts
from cortex_jupyter.reader.process import EndedEarlyError, output
from cortex_jupyter.recorder.process import archiving, launch

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.filled import Filled

#: Modules of libraries and the standard library; each start imports some of them.
_NAMES = ("orjson", "random", "json", "re", "struct", "tornado", "jupyterlab", "runpy", "traitlets", "aiohttp")
_PACKAGE = Path(cortex_jupyter.__file__).parent


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the current folder hostile: a module there that is executed writes the returned file."""
    folder, executed = tmp_path / "hostile", tmp_path / "executed"
    folder.mkdir()
    for name in _NAMES:
        (folder / f"{name}.py").write_text(f"open({str(executed)!r}, 'a').write({name!r})\nraise SystemExit(0)\n")
    monkeypatch.chdir(folder)
    return executed


def _until(test: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 120
    while not test():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _search(_: Path, filled: Filled, __: pytest.MonkeyPatch) -> None:
    async def read() -> None:
        ask = {"store": filled.store.url, "recording": filled.id, "query": {}, "bounds": {}, "max_matches": 1}
        with contextlib.suppress(EndedEarlyError):
            async for _ in output("cortex_jupyter.reader.searcher", ask, 60):
                pass

    asyncio.run(read())


def _measure(_: Path, filled: Filled, __: pytest.MonkeyPatch) -> None:
    async def read() -> None:
        with contextlib.suppress(EndedEarlyError):
            async for _ in output("cortex_jupyter.analysis.metrics_worker", {"store": filled.store.url}, 60):
                pass

    asyncio.run(read())


def _levels(_: Path, filled: Filled, __: pytest.MonkeyPatch) -> None:
    levels = LevelCounts(filled.store, filled.id)
    levels.bins(0, 1, 1)
    assert levels._counting is not None
    levels._counting.join(120)


def _pattern(_: Path, __: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regex_worker, "_idle", [])
    with contextlib.suppress(CortexError):
        regex_worker.search("(?:ab|a[b])*c", ["ababc"], 100, 2.0)
    for worker in regex_worker._idle:
        worker.end()


def _recorder(tmp_path: Path, filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_started", {})
    launch.ensure_recorder(filled.store, "nowhere", str(tmp_path / "no-config"), None, "default")
    [(pid, *_)] = launch._started.values()
    _until(lambda: launch.exit_code(pid) is not None, "the recorder does not end")


def _archive(tmp_path: Path, filled: Filled, _: pytest.MonkeyPatch) -> None:
    filled.store.set_setting("archive", str(tmp_path / "archive"))
    asyncio.run(archiving.Archiving(filled.store).archive_completed())
    assert not filled.store.unarchived(str(tmp_path / "archive"))


def _sandbox(tmp_path: Path, _: Filled, __: pytest.MonkeyPatch) -> None:
    with contextlib.suppress(CortexError), demo._sandbox(tmp_path):
        pass


def _lab(tmp_path: Path, _: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """JupyterLab runs in a new folder. Put the hostile modules there too: they must not be imported either."""
    monkeypatch.setattr(demo, "_NOTEBOOK", tmp_path / "demo.ipynb")
    demo._NOTEBOOK.write_text("{}")
    copy, here = demo.shutil.copy, Path.cwd()

    def with_modules(source: Any, to: Any) -> None:
        copy(source, to)
        for module in here.glob("*.py"):
            copy(module, to.parent)

    monkeypatch.setattr(demo.shutil, "copy", with_modules)
    with demo._lab(tmp_path, dict(os.environ), demo._free_port(), "token") as process:
        _until(lambda: process.poll() is not None or "http://" in (tmp_path / "lab.log").read_text(), "no lab")


@pytest.mark.parametrize("start", [_search, _measure, _levels, _pattern, _recorder, _archive, _sandbox, _lab])
def test_no_module_of_the_current_folder_is_executed(
    start: Callable[[Path, Filled, pytest.MonkeyPatch], None],
    hostile: Path,
    filled: Filled,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise a user who can write an `orjson.py` into that folder can run code as the server's user."""
    filled.lines([(1, 0, "ERROR lost")]).end()
    start(tmp_path, filled, monkeypatch)
    assert not hostile.exists(), f"{start.__name__} executed {hostile.read_text()}.py"


def test_every_command_with_python_has_the_option_p() -> None:
    """This also finds starts that the cases above do not have."""
    unsafe = []
    for path in _PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            arguments = getattr(node, "elts", None) or getattr(node, "args", None)
            if not isinstance(arguments, list):
                continue
            words = [ast.unparse(one).strip("'") for one in arguments]
            if "sys.executable" in words and words[words.index("sys.executable") + 1 :][:1] not in ([], ["-P"]):
                unsafe.append(f"{path.relative_to(_PACKAGE)}:{node.lineno}")
    assert not unsafe
    assert sys.version_info >= (3, 11)  # the first version with -P
