from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cortex_jupyter


def test_the_reference_has_every_public_name_and_all_members_of_a_log(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "docs" / "reference.py"
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "does not resolve" not in done.stderr, done.stderr
    page = (tmp_path / "cortex_jupyter.html").read_text()
    names = [name for name in cortex_jupyter.__all__ if name != "__version__"]
    names += [
        f"TaskLog.{name}"
        for name in ("to_pandas", "follow", "wait", "metrics", "errors", "why", "patterns", "compare", "mask")
    ]
    assert not [name for name in names if f'id="{name}"' not in page]
    assert "raise_on_failure" in page and len(list(tmp_path.rglob("*.html"))) > 15
