from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cortex_jupyter.notebook.tasktable import TaskTable

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_tasks_are_links_if_the_kernels_server_can_show_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = TaskTable([{"task": "ml:job/a", "state": "running"}])
    for name, value in {"JUPYTER_RUNTIME_DIR": tmp_path, "JUPYTER_CONFIG_DIR": tmp_path, "JPY_PARENT_PID": "7"}.items():
        monkeypatch.setenv(name, str(value))
    assert "<a " not in table._repr_html_()
    (tmp_path / "jpserver-7.json").write_text(json.dumps({"base_url": "/a%40b/"}))
    (tmp_path / "jupyter_server_config.d").mkdir()
    (tmp_path / "jupyter_server_config.d" / "cortex_jupyter.json").write_text("{}")
    link = '<a href="/a%40b/cortex/view?task=ml%3Ajob%2Fa" target="_blank" rel="noopener">ml:job/a</a>'
    assert link in table._repr_html_()
