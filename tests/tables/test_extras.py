from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CASES = {
    "pyarrow": ("pandas", "read(store, 1, query)"),
    "pandas": ("pandas", "to_pandas(None)"),
    "polars": ("polars", "to_polars(None)"),
}
CODE = """
import sys
sys.modules[{name!r}] = None  # not to be found
from cortex_jupyter.errors import MissingExtra
from cortex_jupyter.tables.convert import to_pandas, to_polars
from cortex_jupyter.tables.read import read
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.store.open import open_store
from cortex_jupyter.model import TaskRef
query, store = LogQuery.parse({{}}), open_store(sys.argv[1])
store.open("test", TaskRef("ml", "job", "a"), "uid")
try:
    {what}
except MissingExtra as error:
    print(isinstance(error, ImportError), error.message, error.hint, sep="|")
store.close()
"""


@pytest.mark.parametrize("name", CASES)
def test_a_missing_library_is_named_with_its_extra(name: str, tmp_path: object) -> None:
    extra, what = CASES[name]
    command = [sys.executable, "-c", CODE.format(name=name, what=what), f"sqlite:///{tmp_path}/x.sqlite"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        f'True|this needs {name}, which is not installed|pip install "cortex-jupyter[{extra}]"'
    )


def test_the_error_of_a_library_that_cannot_be_imported_has_the_reason(tmp_path: Path) -> None:
    why = "pyarrow requires NumPy 2.0 or newer, found 1.26.4"
    (tmp_path / "pyarrow.py").write_text(f"raise ImportError({why!r})")
    code = "from cortex_jupyter.archive.optional import import_optional; import_optional('pyarrow.compute')"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f"MissingExtra: cannot import pyarrow: {why}" in done.stderr
    assert "hint: install a release of pyarrow that fits" in done.stderr
