"""Our own log: one line per message, fields for programs, no text of other libraries' errors, a bounded size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES = """
import logging, threading
from cortex_jupyter.telemetry import logs
from cortex_jupyter.errors import StoreFull
logs.begin()
log = logging.getLogger("cortex_jupyter.recorder")
with logs.about(task="ml:job/a", recorder="r1"):
    log.warning("%s: %s", "ml:job/a", StoreFull("no\\nroom"), extra={"seconds": 1.23456})
    log.debug("not so loud")
    try:
        float("".join(["SEC", "RET in a line"]))  # since Python 3.13 a traceback has the source of `-c`
    except ValueError:
        log.exception("a batch cannot be recorded")
logging.getLogger("aiohttp").warning("of another library")
threading.Thread(target=lambda: {}["".join(["SEC", "RET"])]).start()
raise RuntimeError("".join(["SEC", "RET"]))
"""


def run(code: str, stderr: int = subprocess.PIPE, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, stderr=stderr, stdout=stderr, text=True, check=False, env={**os.environ, **env})


def test_messages_are_json_objects_if_the_environment_says_so() -> None:
    done = run(MESSAGES, CORTEX_LOG_FORMAT="json")
    docs = [json.loads(line) for line in done.stderr.splitlines()]
    first = {k: v for k, v in docs[0].items() if k != "time"}
    assert first == {
        "level": "warning",
        "message": f"ml:job/a: no room hint: {docs[0]['message'].partition('hint: ')[2]}",
        "task": "ml:job/a",
        "recorder": "r1",
        "code": "StoreFull",
        "seconds": 1.235,
    }
    assert docs[1]["code"] == "InternalError" and docs[1]["traceback"].endswith("\nValueError")
    assert docs[2]["message"] == "of another library" and "task" not in docs[2]
    assert [d["traceback"].splitlines()[-1] for d in docs[3:]] == ["KeyError", "RuntimeError"]
    assert "SECRET" not in done.stderr and done.returncode == 1


def test_messages_are_plain_lines_by_default() -> None:
    lines = run(MESSAGES).stderr.splitlines()
    assert " WARNING ml:job/a: no room hint: " in lines[0] and lines[0].endswith(
        " task=ml:job/a recorder=r1 code=StoreFull seconds=1.235"
    )
    assert " ERROR a batch cannot be recorded task=ml:job/a" in lines[1] and lines[2].startswith("  File ")


def test_the_log_file_of_a_recorder_has_a_bounded_size(tmp_path: Path) -> None:
    """Two processes write to the file, as when one recorder takes over from another."""
    file = tmp_path / "recorder.log"
    code = f"""
import logging
from pathlib import Path
from cortex_jupyter.telemetry import logs
logs._MAX_FILE_BYTES = 10_000
logs.begin(Path({str(file)!r}))
for i in range(1000): logging.getLogger("cortex_jupyter").warning("message %d of %s", i, "x" * 50)
"""
    with file.open("ab") as log:
        processes = [subprocess.Popen([sys.executable, "-c", code], stderr=log, stdout=log) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"recorder.log", "recorder.log.1"} and max(sizes.values()) < 15_000
    assert "message 999" in file.read_text() + file.with_name("recorder.log.1").read_text()
    assert oct(file.stat().st_mode & 0o777) == "0o600"


def test_a_log_file_that_was_deleted_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "recorder.log"
    code = f"""
import logging
from pathlib import Path
from cortex_jupyter.telemetry import logs
logs._MAX_FILE_BYTES = 10_000
logs.begin(Path({str(file)!r}))
Path({str(file)!r}).unlink()
for i in range(1000): logging.getLogger("cortex_jupyter").warning("message %d of %s", i, "x" * 50)
"""
    with file.open("ab") as log:
        assert subprocess.run([sys.executable, "-c", code], stderr=log, stdout=log, check=False).returncode == 0
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"recorder.log", "recorder.log.1"} and max(sizes.values()) < 15_000
    assert "message 999" in file.read_text() + file.with_name("recorder.log.1").read_text()
