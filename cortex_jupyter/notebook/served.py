"""Where the Jupyter server of this kernel shows logs as pages of their own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import quote

from jupyter_core.paths import jupyter_config_path, jupyter_runtime_dir


def page_of(task: str, origin: str = "") -> str | None:
    """Give the address of a task's page, from the server's root on: what the host is called the browser knows.

    Parameters
    ----------
    task : str
    origin : str, optional
        Which cluster and store it is of (`Connection.origin`): a server that reads another one says so.

    Returns
    -------
    str or None
        None where no Jupyter server started this kernel, or one without the extension.
    """
    enabled = (Path(p) / "jupyter_server_config.d" / "cortex_jupyter.json" for p in jupyter_config_path())
    # What a running server writes for `jupyter server list`; jupyter_client tells kernels whose they are.
    file = Path(jupyter_runtime_dir()) / f"jpserver-{os.environ.get('JPY_PARENT_PID', '')}.json"
    if not file.is_file() or not any(path.is_file() for path in enabled):
        return None
    base: str = json.loads(file.read_text())["base_url"]
    return f"{base}cortex/view?task={quote(task, safe='')}" + (f"&origin={origin}" if origin else "")
