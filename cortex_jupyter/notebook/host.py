"""Who sees what a cell gives: a terminal, a page that speaks with this kernel, or a program that writes the notebook down."""

from __future__ import annotations

import os
from typing import Any


def _kernel() -> Any:
    try:
        from IPython.core.getipython import get_ipython  # noqa: PLC0415
    except ImportError:
        return None
    return getattr(get_ipython(), "kernel", None)


def shows_html() -> bool:
    """Whether somebody may see HTML: a terminal's IPython and a script may not."""
    return _kernel() is not None


def answers() -> bool:
    """Whether a page may answer a widget.

    `nbconvert --execute`, `jupyter execute`, papermill and Quarto run notebooks with nbclient, which can ask nobody for input
    and says so in each request. A widget would be saved beside what the cell shows without one, and exporters prefer it
    although it has no kernel any more. Voila uses nbclient too, but serves the live kernel to a page.

    References
    ----------
    https://jupyter-client.readthedocs.io/en/stable/messaging.html#execute (`allow_stdin`),
    https://voila.readthedocs.io/en/stable/customize.html (the variables of a kernel)
    """
    parent: dict[str, Any] = getattr(_kernel(), "get_parent", dict)()
    asks = parent.get("content", {}).get("allow_stdin", True)
    return bool(asks) or os.environ.get("SERVER_SOFTWARE", "").startswith("voila/")
