"""`cortex.search` and `%tasklogs --search`: lines of many tasks, as a table and as HTML that leads to each line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.filled import Filled
from support.ipython import shell

import cortex_jupyter as cortex
from cortex_jupyter.errors import BadQuery, NoCluster, SearchFailed
from cortex_jupyter.notebook.search import SearchResult

if TYPE_CHECKING:
    from pathlib import Path

    from cortex_jupyter.notebook.runtime import Runtime
    from cortex_jupyter.store import Store


@pytest.fixture
def tasks(store: Store, engine: Runtime) -> None:
    hostile = "<script>alert(1)</script> & oom\x00\u202e"
    Filled(store, "one").lines([(1, i * 10**9, f"step {i} oom") for i in range(8)]).end()
    Filled(store, "two").lines([(2, 0, hostile), (1, 1, f"{'x' * 500} oom {'y' * 500}"), (1, 2, "fine")]).end()
    Filled(store, "three").lines([(1, 0, "fine")]).end()


def test_the_lines_of_all_tasks_are_a_sequence_and_a_table(tasks: None) -> None:
    found = cortex.search("oom", namespace="ml", lines=3)
    assert (found.matches, found.is_exact, found.searched, len(found)) == (10, True, 3, 5)
    assert [(task.task, task.matches) for task in found.tasks] == [("ml:job/two", 2), ("ml:job/one", 8)]
    assert [line.text for line in found[2:]] == [f"step {i} oom" for i in (5, 6, 7)]
    frame = found.to_pandas()
    assert list(frame.columns)[:3] == ["task", "time", "seq"] and str(frame["time"].dtype) == "datetime64[ns, UTC]"
    assert frame["text"].tolist() == [line.text for line in found] and frame["run"].tolist() == [1, 0, 0, 0, 0]
    nothing = cortex.search("no such text", namespace="ml")
    assert not nothing and nothing.to_pandas().dtypes.equals(frame.dtypes)


def test_filters_tasks_and_their_logs(tasks: None) -> None:
    log = cortex.logs("ml:one")
    assert [line.seq for line in cortex.search("oom", log, since="2026-01-01T00:00:06Z")] == [7, 8]
    assert cortex.search(grep="step", exclude="[0-6]", tasks=["ml:one", "ml:two"]).matches == 1
    first = cortex.search("oom", log)[0]
    assert cortex.logs(first.task).seq[first.seq].text == first.text
    missing = cortex.search("oom", ["ml:one", "ml:missing"])
    assert missing.matches == 8 and not missing.is_exact and "no kubeconfig" in missing.failed["ml:missing"]
    for message, call in {
        "no filter": lambda: cortex.search(namespace="ml"),
        "no parameter 'tail'": lambda: cortex.search("x", tail=3),
        "both tasks and a selector": lambda: cortex.search("x", "ml:one", selector="a=b"),
    }.items():
        with pytest.raises(BadQuery, match=message):
            call()
    with pytest.raises(NoCluster):
        cortex.search("oom", "ml:missing")


def test_it_displays_itself_and_escapes_everything(
    tasks: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = cortex.search("oom", namespace="ml")
    text = repr(found)
    assert text.startswith("'oom': 10 lines in 2 of 3 tasks\n\nml:job/two: 2 lines\n") and "\x00" not in text
    assert "step 7 oom" in text and "step 2 oom" not in text
    html = found._repr_html_()
    assert "&lt;script&gt;" in html and "<script" not in html and "\x00" not in html and "\u202e" not in html
    assert f"…{'x' * 59} <mark>oom</mark> {'y' * 50}" in html and "<a " not in html
    for name, value in {"JUPYTER_RUNTIME_DIR": tmp_path, "JUPYTER_CONFIG_DIR": tmp_path, "JPY_PARENT_PID": "7"}.items():
        monkeypatch.setenv(name, str(value))
    (tmp_path / "jpserver-7.json").write_text(json.dumps({"base_url": "/a%40b/"}))
    (tmp_path / "jupyter_server_config.d").mkdir()
    (tmp_path / "jupyter_server_config.d" / "cortex_jupyter.json").write_text("{}")
    link = f'href="/a%40b/cortex/view?task=ml%3Ajob%2Fone&amp;origin={found.origin}'
    html = found._repr_html_()
    assert f'{link}"' in html and f'{link}&amp;since=all&amp;at=2026-01-01T00%3A00%3A07.000000000Z&amp;line=8"' in html


def test_what_was_not_searched_is_said() -> None:
    found = SearchResult("oom")
    found.receive("tasks", {"tasks": 2, "unrecorded": [f"ml:pod/{i}" for i in range(7)], "growing": ["ml:job/runs"]})
    found.receive("task", {"task": "ml:job/big", "matches": 40_000, "all": False})
    found.receive("task", {"task": "ml:job/gone", "matches": 0, "all": False, "error": {"message": "it is gone"}})
    assert found.summary() == "at least 40 000 lines in 1 of 1 task"
    assert found.notes() == [
        "ml:job/gone could not be searched: it is gone",
        "Not recorded, so not searched: ml:pod/0, ml:pod/1, ml:pod/2, ml:pod/3, ml:pod/4 and 2 more",
        "Not being recorded now, so their newest lines may be missing: ml:job/runs",
    ]
    assert all(note in repr(found) and note in found._repr_html_() for note in found.notes())
    with pytest.raises(SearchFailed, match="early"):
        found.receive("error", {"message": "the search ended early", "hint": ""})


def test_a_search_without_the_archive_is_not_whole() -> None:
    found = SearchResult("oom")
    problem = {"message": "the bucket does not answer"}
    found.receive("tasks", {"tasks": 1, "unrecorded": [], "growing": [], "archive_problem": problem})
    found.receive("task", {"task": "ml:job/one", "matches": 0, "all": True})
    assert found.has_failures and found.summary() == "at least 0 lines in 0 of 1 task"
    assert found.notes() == ["Archived tasks were not searched: the bucket does not answer"]


def test_the_magic_searches(tasks: None) -> None:
    everywhere, some, frame, wrong = shell(
        '%tasklogs --search "oom -script" -n ml --df df',
        "%tasklogs ml:one --search oom ml:three --level error",
        "(len(df), df.task.nunique())",
        "%tasklogs ml:one ml:two",
    )
    assert everywhere["value"].startswith("'oom -script': 9 lines in 2 of 3 tasks")
    assert some["value"].startswith("'oom': 0 lines in 0 of 2 tasks") and frame["value"] == "(9, 2)"
    assert "--search TEXT searches in several" in wrong["err"]
