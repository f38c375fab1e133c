"""`cortex.open` in real JupyterLab without a cluster: a text file, compressed NDJSON, and another program's Parquet file."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pandas as pd
import pytest
import zstandard
from playwright.sync_api import expect
from support.browser import shot

if TYPE_CHECKING:
    from pathlib import Path

    from browser.conftest import Lab

pytestmark = pytest.mark.browser
WAIT = 40_000
#: Many more lines than a viewer loads by itself.
LINES = 200_000
DAY = dt.datetime(2026, 1, 31, tzinfo=dt.UTC)


def write(folder: Path) -> None:
    times = [DAY + dt.timedelta(milliseconds=100 * i) for i in range(LINES)]
    stamps = [time.isoformat(timespec="milliseconds") for time in times]
    lines = (f"{stamp} {'ERROR' if i % 50 == 49 else 'INFO'} line {i:08d}" for i, stamp in enumerate(stamps, 1))
    (folder / "old.log").write_text("\n".join(lines))
    docs = (
        json.dumps({"ts": stamp, "level": "info", "msg": f"step {i}", "loss": 1 / i})
        for i, stamp in enumerate(stamps[:300], 1)
    )
    (folder / "run.ndjson.zst").write_bytes(zstandard.compress("\n".join(docs).encode()))
    pd.DataFrame({"timestamp": times[:200], "message": [f"row {i}" for i in range(200)]}).to_parquet(
        folder / "theirs.parquet"
    )


def test_each_kind_of_file_is_shown_filtered_and_searched_beyond_the_loaded_lines(lab: Lab) -> None:
    write(lab.home.path)
    names = ("old.log", "run.ndjson.zst", "theirs.parquet")
    page = lab.open("opened", f"for name in {names}: display(cortex.open(name, time='utc'))")
    text, ndjson, parquet = (page.locator(".cortex-logs").nth(i) for i in range(3))

    for viewer, lines, wanted, shown in (
        (parquet, 200, "/row 1[23]$/", ["row 12", "row 13"]),
        (ndjson, 300, "loss<=0.00335", ["step 299", "step 300"]),
    ):
        viewer.scroll_into_view_if_needed()
        expect(viewer.locator(".cl-foot")).to_contain_text(f"{lines} lines", timeout=WAIT)
        viewer.locator("input[type=search]").fill(wanted)
        expect(viewer.locator("[data-seq]")).to_have_count(2)
        assert [text for text in shown if text in viewer.locator("[role=log]").inner_text()] == shown
    shot(page, "opened")

    text.scroll_into_view_if_needed()
    expect(text.locator(".cl-foot")).to_contain_text("200", timeout=WAIT)
    expect(text.locator(f"[data-seq='{LINES}']")).to_be_visible(timeout=WAIT)
    # A filter, and then the previous match from the end, both find lines far before the loaded ones.
    text.locator("input[type=search]").fill("line 00012345")
    expect(text.locator("[data-seq='12345']")).to_be_visible(timeout=WAIT)
    assert text.locator("[data-seq]").count() == 1
    text.locator("input[type=search]").fill("")
    text.locator(".cl-rows").focus()
    page.keyboard.press("End")
    expect(text.locator(f"[data-seq='{LINES}']")).to_be_visible(timeout=WAIT)
    page.keyboard.press("Control+f")
    page.keyboard.type("/line 00034567/")
    expect(text.locator(".cl-found")).to_contain_text("0 of")
    text.locator(".cl-rows").focus()
    page.keyboard.press("N")
    expect(text.locator(".cl-picked")).to_contain_text("line 00034567", timeout=WAIT)
    shot(page, "opened-found")
