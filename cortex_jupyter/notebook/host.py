"""What displays a cell's output: a terminal, a page with a live kernel, or a program that executes the notebook."""

from __future__ import annotations

import os
from typing import Any


def _kernel() -> Any:
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return None
    return getattr(get_ipython(), "kernel", None)


def shows_html() -> bool:
    """Return whether output may be shown as HTML. IPython in a terminal and scripts show text."""
    return _kernel() is not None


def can_use_widgets() -> bool:
    """Return whether a page with a live kernel may show widgets.

    `nbconvert --execute`, `jupyter execute`, papermill and Quarto run notebooks with nbclient. Each of its requests says
    that the kernel must not ask for input. There, a widget would be saved beside the static output, and exporters would
    prefer the widget although its kernel has gone. Voila uses nbclient too, but its pages have the live kernel.

    References
    ----------
    https://jupyter-client.readthedocs.io/en/stable/messaging.html#execute (`allow_stdin`),
    https://voila.readthedocs.io/en/stable/customize.html (the variables of a kernel)
    """
    parent: dict[str, Any] = getattr(_kernel(), "get_parent", dict)()
    has_user = parent.get("content", {}).get("allow_stdin", True)
    return bool(has_user) or os.environ.get("SERVER_SOFTWARE", "").startswith("voila/")
