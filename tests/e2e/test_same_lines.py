"""SSE while a task runs, and JSON pages and a DataFrame after its end, have the same lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.jupyter import Home, Jupyter, counter, numbers

if TYPE_CHECKING:
    from collections.abc import Callable

LINES = 100_000


def test_200_000_lines_of_two_pods_are_the_same_in_sse_pages_and_frame(
    server: Jupyter, home: Home, job: Callable[..., str]
) -> None:
    name = job(counter(LINES, per_second=40_000, wait=1), parallelism=2, init="print('prepare')")
    texts: dict[int, str] = {}
    end: dict[str, Any] = {}
    # Whether lines came later, from a rotated file: the node's stream can skip some at a rotation (10 MiB).
    audited = False
    for event in server.events(name, since="all"):
        if event.event == "log":
            first = event.data["seq"]
            for i, text in enumerate(event.data["m"]):
                assert first + i not in texts, "a `seq` came twice"
                texts[first + i] = text
        elif event.event == "gap":
            pytest.fail(f"a gap: {event.data}")
        elif event.data.get("notice") == "audit":
            audited = True
        elif event.event == "end":
            end = event.data
    assert end["message"] == "Job complete exit 0" and end["exit_code"] == 0 and end["state"] == "succeeded"
    found = numbers(list(texts.values()))
    assert {pod: len(n) for pod, n in found.items()} == dict.fromkeys(found, LINES) and len(found) == 2
    assert all(sorted(n) == list(range(LINES)) for n in found.values())
    assert audited or all(n == list(range(LINES)) for n in found.values()), "lines of a pod are out of order"

    paged = {r["seq"]: r["text"] for page in server.pages(name, limit=10_000) for r in page["records"]}
    assert paged == texts

    out = home.python(
        "import cortex_jupyter as cortex, json\n"
        f"frame = cortex.logs({name!r}).to_pandas()\n"
        "assert frame['time'].is_monotonic_increasing or frame.groupby(['pod','container'])['seq'].is_monotonic_increasing.all()\n"
        "frame[['seq', 'text']].to_json('frame.json', orient='values')\n"
        f"print(cortex.logs({name!r}).complete)"
    )
    assert "complete" in out
    framed = dict(json.loads((home.path / "frame.json").read_text()))
    assert framed == texts
