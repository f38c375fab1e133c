from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import cortex_jupyter as cortex
from cortex_jupyter.errors import BadQuery, MissingExtra
from cortex_jupyter.model import Batch
from cortex_jupyter.notebook import widget
from cortex_jupyter.notebook.query import take_viewer_options
from cortex_jupyter.notebook.view import query_of
from cortex_jupyter.notebook.widget import LogViewer, bundle
from cortex_jupyter.query.language import LogQuery

if TYPE_CHECKING:
    from support.filled import Filled

    from cortex_jupyter.notebook.runtime import Runtime


@pytest.mark.parametrize(
    ("view", "kept"),
    [
        ({"grep": ["loss"]}, ["loss=1", "LOSS=1", "Loss=1"]),
        ({"grep": ["Loss"]}, ["Loss=1"]),
        ({"grep": ["/loss/c"]}, ["loss=1"]),
        ({"grep": ["a.b"]}, ["a.b"]),
        ({"grep": ["/a.b/"]}, ["a.b", "axb"]),
        ({"grep": ["/(?i)LOSS/"]}, ["loss=1", "LOSS=1", "Loss=1"]),
        ({"grep": ["loss", "L"]}, ["LOSS=1", "Loss=1"]),
        ({"exclude": ["loss"]}, ["a.b", "axb", "x"]),
        ({"exclude": ["/a\\.b|x/"]}, ["loss=1", "LOSS=1", "Loss=1"]),
        ({"where": ["loss=1"], "exclude": ["/L/"]}, ["loss=1"]),
    ],
)
def test_a_filter_of_the_page_means_the_same_in_python(view: dict[str, Any], kept: list[str]) -> None:
    lines = ["loss=1", "LOSS=1", "Loss=1", "a.b", "axb", "x"]
    keep = LogQuery.parse(query_of({"shown": view})).keep()
    sources = {1: {"pod": "a", "container": "main"}}
    batch = Batch("d:job/a", list(range(6)), [0] * 6, [1] * 6, [0] * 6, lines, sources)
    assert keep is not None and [lines[i] for i in keep(batch)] == kept


def test_view_is_the_log_as_the_viewer_shows_it(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1 + i % 2, i, f"INFO loss={i}") for i in range(20)]).end()
    log = cortex.logs("ml:train-1")
    log.viewer.view = {
        "since": "all",
        "shown": {"grep": ["LOSS"], "level": "info", "pod": "train-1-aa", "container": "main"},
    }
    assert repr(log.view) == (
        "cortex_jupyter.logs('ml:job/train-1', since='all', level='info', grep='LOSS', pod='train-1-aa', container='main')"
    )
    assert len(log.view) == 0
    log.viewer.view = {**log.viewer.view, "shown": {"grep": ["loss"], "pod": "train-1-aa,train-1-bb"}}
    assert len(log.view) == 20
    log.viewer.view = {"since": "all", "shown": {"run": "train-1-aa/*/*,train-1-bb/main/0"}}
    assert len(log.view) == 10 and "run='train-1-aa/*/*,train-1-bb/main/0'" in repr(log.view)
    log.viewer.view = {"since": "all", "shown": {"pod": "-"}}  # each source is hidden
    assert len(log.view) == 0
    log.viewer.close()


def test_options_of_the_viewer_are_its_traits(filled: Filled, engine: Runtime) -> None:
    filled.lines([(1, 0, "INFO x")]).end()
    viewer = cortex.logs("ml:train-1", trim=True, around=3).viewer
    assert (viewer.trim, viewer.around) == (True, 3)
    for options in ({"around": 101}, {"around": True}, {"trim": 1}):
        with pytest.raises(BadQuery, match="the viewer does not know"):
            cortex.logs("ml:train-1", **options)


def test_what_python_says_is_known_to_the_page(filled: Filled, engine: Runtime) -> None:
    """The user's settings in JupyterLab must not change it, even if it is what is usual."""
    filled.lines([(1, 0, "INFO x")]).end()
    viewer = cortex.logs("ml:train-1", time="local", grep="x").viewer
    assert viewer.get_state()["_stated"] == ["time"]
    viewer.wrap = True
    assert viewer.get_state()["_stated"] == ["time", "wrap"]
    plain = cortex.logs("ml:train-1").viewer
    assert plain.get_state()["_stated"] == []


def test_jupyterlabs_settings_are_those_of_the_viewer() -> None:
    package = Path(cortex.__file__).parent / "labextension"
    name = json.loads((package / "package.json").read_text())["name"]
    schema = json.loads((package / "schemas" / name / "plugin.json").read_text())
    traits = LogViewer.class_traits()
    for option, setting in schema["properties"].items():
        if option == "since":
            for given in ("all", "90s", "1h30m", setting["default"]):
                assert re.fullmatch(setting["pattern"], given) and LogQuery.parse({"since": given})
            continue
        default = traits[option].default()
        assert setting["default"] == default, option
        allowed = [one["const"] for one in setting.get("oneOf", ())]
        allowed += [[one] for one in setting.get("items", {}).get("enum", ())]
        allowed += [setting[bound] for bound in ("minimum", "maximum") if bound in setting]
        for value in allowed or [not default]:
            assert take_viewer_options({option: value}) == {option: value}
        if "oneOf" in setting:
            assert sorted(allowed) == sorted(traits[option].values)


TIME = r"20\d\d-\d\d-\d\dT"


@pytest.mark.parametrize(
    ("given", "since", "until"),
    [
        ({"since": "yesterday"}, TIME + r"00:00:00\.0+Z", None),
        ({"since": "10:00"}, TIME + r"10:00:00\.0+Z", None),
        ({"since": "2026-01-31 10:00"}, r"2026-01-31T10:00:00\.0+Z", None),
        ({"since": datetime(2026, 1, 31, 10, tzinfo=UTC)}, r"2026-01-31T10:00:00\.0+Z", None),
        ({"since": timedelta(minutes=10)}, "600s", None),
        ({"since": "1h30m"}, "1h30m", None),
        # The page knows a range by two times.
        ({"since": "10:00", "until": "10:20"}, TIME + r"10:00:00\.0+Z", TIME + r"10:20:00\.0+Z"),
        ({"since": "2h", "until": "1h"}, TIME + ".*Z", TIME + ".*Z"),
        ({"until": "yesterday"}, "all", TIME + "23:59:59.9+Z"),
    ],
)
def test_the_page_gets_a_window_that_it_knows(
    filled: Filled, engine: Runtime, given: dict[str, Any], since: str, until: str | None
) -> None:
    filled.lines([(1, 0, "INFO x")]).end()
    query = cortex.logs("ml:train-1", **given).viewer.get_state()["query"]
    assert re.fullmatch(since, query["since"])
    assert "until" not in query if until is None else re.fullmatch(until, query["until"])


def test_the_widget_state_has_no_lines_and_a_missing_bundle_is_reported(
    filled: Filled, engine: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.lines([(1, 1, "a secret line")]).end()
    log = cortex.logs("ml:train-1", grep=r"a\d", tail=5)
    state = log.viewer.get_state()
    assert state["tasks"] == ["ml:job/train-1"] and state["query"] == {"grep": [r"/a\d/c"], "tail": 5}
    assert (state["transport"], state["height"], state["view"], state["status"]) == ("auto", 420, {}, {})
    assert "secret" not in str(state)
    log.viewer.close()
    monkeypatch.setattr(widget, "_STATIC", widget._STATIC / "nowhere")
    with pytest.raises(MissingExtra, match=r"loader\.js has not been built"):
        _ = cortex.logs("ml:train-1").viewer


def test_the_viewers_code_is_sent_and_not_saved(
    filled: Filled, engine: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[dict[str, Any], list[bytes]]] = []
    monkeypatch.setattr(LogViewer, "send", lambda _, content, buffers=None: sent.append((content, buffers)))
    filled.lines([(1, 1, "a line")]).end()
    viewer = cortex.logs("ml:train-1").viewer
    state = viewer.get_state()
    # It is saved for each viewer. This limits what three viewers add to a notebook's file.
    assert len(json.dumps(state)) < 6_000 and len(state["_esm"]) <= 4_000 and "_css" not in state
    for _ in range(3):
        viewer._received(viewer, {"type": "viewer"}, [])
    # Requests that came while the kernel was busy are answered once.
    assert sent == [
        (
            {"type": "viewer", "version": state["_viewer"]},
            [bundle(name) for name in ("viewer.js", "viewer.css", "store.js", "charts.js", "panels.js")],
        )
    ]
    viewer.close()


def test_the_table_of_conditions_holds_for_a_log(filled: Filled, engine: Runtime) -> None:
    cases = json.loads((Path(__file__).parents[1] / "query" / "fixtures" / "where.json").read_text())["cases"]
    lines = sorted({line for case in cases for line in case["yes"] + case["no"]})
    filled.lines([(1, i, line) for i, line in enumerate(lines)]).end()
    log = cortex.logs("ml:train-1")
    for case in cases:
        found = {record.text for record in log.filter(where=case["where"])}
        assert set(case["yes"]) <= found and not found & set(case["no"]), case["where"]
    several = log.filter(where=["status>=500", "path~/api"], exclude=["nothing", "at all"])
    assert [record.text for record in several] == ["path=/api/x status=500"]
    assert "where=['status>=500', 'path~/api']" in repr(several)
