"""What a cell shows depends on the program that executes it. Tested with a real kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import start_new_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.filled import Filled

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def shown(filled: Filled) -> Iterator[Callable[..., set[str]]]:
    """Run a cell and return the MIME types of its output."""
    filled.lines([(1, i * 10**9, f"step {i} loss={i}") for i in range(1, 5)]).update(state="running", caught_up=1)
    manager, client = start_new_kernel()

    def run(code: str, **options: Any) -> set[str]:
        found: list[dict[str, Any]] = []
        client.execute_interactive(code, output_hook=found.append, timeout=60, **options)
        assert not [m["content"] for m in found if m["msg_type"] == "error"]
        (result,) = (m["content"]["data"] for m in found if m["msg_type"] == "execute_result")
        return set(result)

    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_widgets_are_shown_only_if_a_page_can_answer(shown: Callable[..., set[str]]) -> None:
    log = "import cortex_jupyter as cortex, os; log = cortex.logs('ml:train-1'); log"
    for cell in (log, "log.metrics().plot()"):
        assert shown(cell, allow_stdin=False) == {"text/plain", "text/html"}, (
            "nbclient, which has no page, gets a widget"
        )
        assert shown(cell, allow_stdin=True) == {"text/plain", "text/html", WIDGET}
    assert WIDGET in shown("os.environ['SERVER_SOFTWARE'] = 'voila/0.5.8'; log", allow_stdin=False)
