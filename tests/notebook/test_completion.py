from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.filled import Filled
from support.ipython import shell
from support.kube import python_job

from cortex_jupyter.model import Source
from cortex_jupyter.notebook.completion import Completer

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cortex_jupyter.store import Store

#: A busy machine may need longer than a user would wait.
PATIENT = "import cortex_jupyter.notebook.completion as completion; completion.FIRST_WAIT_S = 60"


@pytest.fixture
def tasks(filled: Filled, store: Store) -> None:
    """Record two tasks, one of them with ranks."""
    for rank in (2, 10, 0):
        source = Source(f"w-{rank}", f"u-{rank}", "main", f"w{rank}", role="worker", rank=str(rank), attempt="1")
        filled.lines([(filled.add(source), rank, f"of {rank}")])
    filled.end()
    Filled(store, "other", "lab").lines([(1, 0, "INFO step 0")]).end()


def completions(*lines: str) -> list[list[str]]:
    return shell(PATIENT, *(f"complete:{line}" for line in lines))[1:]


def test_tasks_come_first_with_their_namespaces_and_nothing_of_python(tasks: None) -> None:
    (found,) = completions("%tasklogs ")
    assert set(found[:2]) == {"ml:job/train-1", "lab:job/other"}
    assert found[2:] and all(text.startswith("--") for text in found[2:])


@pytest.mark.parametrize("typed", ["tr", "job/tr", "ml:", "ml:tr", "ml:job/train"])
def test_a_task_is_found_by_any_form_of_its_name(tasks: None, typed: str) -> None:
    assert completions(f"%tasklogs {typed}", f"log = %tasklogs {typed}") == [["ml:job/train-1"]] * 2


def test_options_have_values_of_the_task(tasks: None) -> None:
    line = "%tasklogs ml:train-1"
    pods, more, roles, ranks, flags, after, wait, none = completions(
        f"{line} --pod ",
        f"{line} --pod w-2,w-1",
        f"{line} --role=",
        f"{line} --rank ",
        f"{line} --le",
        f"{line} --level error ",
        f"{line} --wait ",
        "%tasklogs --pod ",
    )
    assert pods[:3] == ["train-1-aa", "train-1-bb", "w-2"] and set(pods) >= {"w-0", "w-10"}
    assert more == ["w-10"] and roles == ["worker"] and ranks == ["0", "2", "10"]
    assert flags == ["--level"] and "--pod" in after and "--pod" in wait
    assert "ml:job/train-1" not in [*after, *wait, *none]


def test_values_namespaces_and_what_is_no_magic(tasks: None) -> None:
    levels, spaces, of_namespace, variable, plain = completions(
        "%tasklogs x --level w",
        "%tasklogs --namespace ",
        "%tasklogs -n lab ",
        "tasklogs = tr",
        "tr",
    )
    assert levels == ["warning"] and set(spaces) == {"ml", "lab"}
    assert of_namespace[0] == "lab:job/other" and "ml:job/train-1" not in of_namespace
    assert "ml:job/train-1" not in [*variable, *plain]


def test_tasks_may_be_learnt_while_they_are_offered() -> None:
    """A thread reads them in the background."""
    completer = Completer([], [])
    completer.learn(["ml:job/a", "ml:job/b"])
    known = completer._known_tasks()
    assert next(known) == "ml:job/a"
    completer.learn(["ml:job/c"])
    completer._tasks["lab"] = ["lab:job/d"]
    assert "ml:job/b" in list(known)


def test_loading_the_extension_again_adds_nothing(tasks: None) -> None:
    *_, found = shell(PATIENT, "%reload_ext cortex_jupyter", "%reload_ext cortex_jupyter", "complete:%tasklogs tr")
    assert found == ["ml:job/train-1"]


def test_the_cluster_shows_tasks_that_are_not_recorded(
    sandbox: Any, unique: Callable[[str], str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(sandbox.kubeconfig))
    name = unique("complete")
    sandbox.kube.create(python_job(name, "print('x', flush=True)"))
    try:
        sandbox.kube.wait_job(name)
        found, pods = completions(f"%tasklogs {name}", f"%tasklogs {name} --pod ")
        assert [text.rpartition("/")[2] for text in found] == [name] and found[0].count(":") == 1
        assert len(pods) == 1 and pods[0].startswith(name)
    finally:
        sandbox.kube.delete("jobs", name)
