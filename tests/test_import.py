"""Every kernel waits for `import cortex_jupyter`, so it loads no heavy package."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "kubernetes",
    "pandas",
    "polars",
    "pyarrow",
    "numpy",
    "aiohttp",
    "tornado",
    "jupyter_server",
    "anywidget",
    "IPython",
    "opentelemetry",
)


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    out = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True).stdout
    return {name.partition(".")[0] for name in out.split()}


def test_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import cortex_jupyter").intersection(HEAVY)


def test_readers_of_a_recording_need_no_cluster_client() -> None:
    code = "from cortex_jupyter.reader import feed, pages, session\nfrom cortex_jupyter.store import open, sqlite\nimport cortex_jupyter.store.sqlite.store"
    assert not loaded_by(code).intersection(HEAVY)


def test_every_public_name_is_known_before_it_is_loaded() -> None:
    loaded_by("import cortex_jupyter as c\nassert c.__all__ and set(c.__all__) <= set(dir(c))")
