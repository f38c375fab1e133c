"""Runs cells and completes lines in IPython, in a process of its own, because IPython changes its process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SHELL = """
import contextlib, io, json, sys, warnings
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.completer import provisionalcompleter
shell = InteractiveShell.instance()
answers = []
for cell in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    if cell.startswith("complete:"):
        line = cell[9:]
        with provisionalcompleter():
            answers.append([c.text for c in shell.Completer.completions(line, len(line))])
        continue
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        result = shell.run_cell(cell)
    answers.append({"value": repr(result.result), "out": out.getvalue(), "err": err.getvalue()})
print()
print(json.dumps(answers))
"""


def shell(*cells: str, stdin: str = "") -> list[Any]:
    """Run cells in a new IPython with the extension, and return their value and output.

    A cell `complete:LINE` returns the completions at the end of the line instead.
    """
    command = [sys.executable, "-c", SHELL, json.dumps(["%load_ext cortex_jupyter", *cells])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, input=stdin)
    found: list[Any] = json.loads(done.stdout.splitlines()[-1])
    assert found[0]["err"] == ""
    return found[1:]
