"""Each kind of the table, with the pods that its operator creates: every line, the end, roles, ranks and attempts.

Up to three tasks of each kind run in one namespace with one collector. One restarts and succeeds, one is suspended and fails,
and one is deleted while it runs. Tasks that never end are read from the command line.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.jupyter import Home
from support.operators import OPERATORS, Operator, Part, Task, condition

from cortex_jupyter.cluster.kinds import TABLE
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.store.open import open_store
from cortex_jupyter.tables.read import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from conftest import Target

    from cortex_jupyter.store import RecordingInfo, Store

Rows = dict[str, dict[str, Any]]
#: How long one step of all tasks may take (seconds); reached only if something is missing.
PATIENCE_S = 120
#: Kinds that represent all in the expensive steps: pods of the task itself, of Jobs, of other custom resources, and of pods.
#: A kubelet asks the API server five times a second (`kubeAPIQPS`), and each pod costs some twelve times, so only tasks of
#: these are deleted early on a real cluster.
CHAINS = (
    "pytorchjob.kubeflow.org",
    "jobset.jobset.x-k8s.io",
    "rayjob.ray.io",
    "sparkapplication.sparkoperator.k8s.io",
)


def _unknown_kinds() -> dict[str, Operator]:
    """Return operators of unknown kinds, one for each usual form of a status."""
    forms: dict[str, dict[str, Any]] = {
        "condition": {
            "running": {"conditions": [condition("Ready"), condition("Succeeded", "Unknown")]},
            "succeeded": {"conditions": [condition("Ready", "False"), condition("Succeeded")]},
            "failed": {
                "conditions": [condition("Ready"), condition("Failed", reason="HelperLost", message="it ended")]
            },
            "reason": "HelperLost: it ended",
        },
        "phase": {
            "running": {"phase": "Running"},
            "succeeded": {"phase": "Succeeded", "completionTime": "{now}"},
            "failed": {"phase": "Failed", "reason": "HelperLost", "message": "it ended"},
            "suspended": {"spec": {"suspend": True}},
            "reason": "HelperLost: it ended",
        },
        "jobStatus": {
            "running": {"jobStatus": "RUNNING"},
            "restarted": {"jobStatus": "PENDING"},
            "succeeded": {"jobStatus": "SUCCEEDED"},
            "failed": {"jobStatus": "FAILED"},
            "reason": "exit 3",
            "recreates": True,
        },
    }
    operators = []
    for word, form in forms.items():
        noise = uuid.uuid4().hex[:6]
        group = f"{word.lower()}{noise}.example.org/v1beta1"
        helper = Part("Pod", "{name}-driver-helper", fails=True)
        job = Part("Job", "{name}-a", rank="{index}", completions=2)
        stage = Part(f"{group} Stage{noise}", "{name}-stage", parts=(job,))
        run = Part(f"{group} Sweep{noise}", "{name}-sweep", parts=(stage,))
        operators.append(Operator(group, f"Study{noise}", (run, Part("Pod", "{name}-driver", parts=(helper,))), **form))
    return {operator.name: operator for operator in operators}


class Fleet:
    """The tasks of all kinds, with their rows, lines and recordings.

    Attributes
    ----------
    unknown, operators : dict of str to Operator
        The operators of unknown kinds, and all operators.
    errors : dict of str to BaseException
        The error of a kind's tasks, by kind.
    tasks : dict of str to list of Task
        By kind.
    created, running, ended : dict
        The rows of `cortex-jupyter tasks` before there are pods, before the ends and after them, by kind and name.
    shown : dict of str to list of list
        The lines that `cortex-jupyter logs` shows of some tasks: while one that never ends runs, and when it is deleted.
    recordings : dict
        The recordings of each task at last, with their lines: texts, roles, ranks and attempts.
    """

    def __init__(self, target: Target, folder: Path) -> None:
        self.kube, self._is_real, self.space = target.kube, target.real, f"kinds-{uuid.uuid4().hex[:6]}"
        self._url = f"sqlite:///{folder}/r.sqlite"
        self.home = Home(folder, self.kube.kubeconfig, {"CORTEX_STORE": self._url})
        self.unknown = _unknown_kinds()
        self.operators = OPERATORS | self.unknown
        self.errors: dict[str, BaseException] = {}
        self.tasks: dict[str, list[Task]] = {}
        self.created: Rows = {}
        self.running: Rows = {}
        self.ended: Rows = {}
        self.shown: dict[str, list[list[dict[str, Any]]]] = {}
        self.recordings: dict[str, list[tuple[RecordingInfo, list[dict[str, Any]]]]] = {}
        self._options = {"has_indexed_jobs": target.minor >= 22}

    def run(self) -> None:
        """Run all tasks to their ends, and delete them."""
        for operator in self.operators.values():
            operator.define(self.kube)
        for operator in self.operators.values():
            operator.define_parts(self.kube)
        self.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.space}})
        command = [sys.executable, "-m", "cortex_jupyter.cli", "record", "--all", "-n", self.space]
        with (self.home.path / "collector.log").open("wb") as log:
            collector = subprocess.Popen(command, env=self.home.env, stdout=log, stderr=log)
        try:
            with contextlib.closing(open_store(self._url)) as store:
                self._run(store)
        finally:
            self.kube.delete("namespaces", self.space)
            collector.terminate()
            collector.wait(60)
            self.home.end()

    def _run(self, store: Store) -> None:
        self._each(self._create, self.operators)
        ending = [task for tasks in self.tasks.values() for task in tasks if task.operator.ends]
        endless = [task for tasks in self.tasks.values() for task in tasks if not task.operator.ends]
        self.created = self._rows()
        self._each(Task.begin, ending + endless)
        self._wait(ending, lambda task: Counter(self._texts(store, task)) == Counter(task.texts))
        self._each(self._show, endless)
        self.running = self._rows()
        self._each(Task.restart, [task for task in ending if task.begins_anew])
        self._wait(ending, lambda task: Counter(self._texts(store, task)) == Counter(task.texts))
        self._each(Task.end, ending)
        self._wait(ending, lambda task: all(info.done for info in self._infos(store, task)))
        self.ended = self._rows()
        self._each(lambda task: task.custom.delete(), ending + endless)
        self._each(self._show, [*endless, *(self.tasks[kind][0] for kind in CHAINS)])
        for task in ending + endless:
            self.recordings[_key(task)] = [(info, _lines(store, info)) for info in self._infos(store, task)]

    def _create(self, kind: str) -> None:
        operator = self.operators[kind]
        forms: list[dict[str, bool]] = [{}, {"fails": True}, {"is_cut_short": True}]
        if not operator.ends:
            del forms[1:]
        elif self._is_real and kind not in CHAINS:
            del forms[2]
        group = operator.api_version.partition("/")[0]
        self.tasks[kind] = [
            Task(
                self.kube,
                operator,
                f"{operator.kind.lower()}-{group.partition('.')[0]}-{number}",
                self.space,
                **form,
                **self._options,
            )
            for number, form in enumerate(forms)
        ]

    def _each(self, step: Callable[[Any], object], tasks: Iterable[Any]) -> None:
        """Take a step with each task, some at a time; a kind with an error takes no further steps."""

        def take(task: Any) -> None:
            kind = task.operator.name if isinstance(task, Task) else task
            if kind not in self.errors:
                try:
                    step(task)
                except (AssertionError, OSError, TimeoutError, httpx.HTTPError) as error:
                    self.errors[kind] = error

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(take, tasks))

    def _wait(self, tasks: list[Task], is_done: Callable[[Task], bool]) -> None:
        """Wait until all tasks have reached a state; a kind that does not reach it in time has an error."""
        waiting = list(tasks)

        def are_done() -> bool:
            waiting[:] = [task for task in waiting if task.operator.name not in self.errors and not is_done(task)]
            return not waiting

        try:
            self.kube.wait_for(are_done, "a step of all tasks", PATIENCE_S)
        except TimeoutError as error:
            self.errors |= {task.operator.name: error for task in waiting}

    def _infos(self, store: Store, task: Task) -> list[RecordingInfo]:
        return [info for info in store.recordings(self.space) if f"{info.ref.kind}/{info.ref.name}" == _key(task)]

    def _texts(self, store: Store, task: Task) -> list[str]:
        return [line["text"] for info in self._infos(store, task) for line in _lines(store, info)]

    def _command(self, *arguments: str) -> str:
        done = self.home.run(sys.executable, "-m", "cortex_jupyter.cli", *arguments, "-n", self.space)
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        return done.stdout

    def _rows(self) -> Rows:
        rows = json.loads(self._command("tasks", "-o", "json"))["tasks"]
        assert len({row["task"] for row in rows}) == len(rows)
        return {f"{row['kind']}/{row['name']}": row for row in rows}

    def _show(self, task: Task) -> None:
        output = self._command("logs", _key(task), "--since", "all", "-o", "ndjson")
        self.shown.setdefault(_key(task), []).append([json.loads(line) for line in output.splitlines()])


def _key(task: Task) -> str:
    return f"{task.operator.name}/{task.name}"


def _lines(store: Store, info: RecordingInfo) -> list[dict[str, Any]]:
    columns = ("text", "role", "rank", "attempt", "pod")
    lines: list[dict[str, Any]] = read(store, info.id, LogQuery.parse({"since": "all"}), columns=columns).to_pylist()
    return lines


def _membership(line: dict[str, Any]) -> list[str]:
    return ["" if line.get(name) is None else str(line[name]) for name in ("role", "rank", "attempt")]


#: Kinds that create tasks by a schedule or a trigger, and have no pods of their own; see `test_custom.py`.
SCHEDULERS = {
    "cronworkflow.argoproj.io",
    "scaledjob.keda.sh",
    "scheduledsparkapplication.sparkoperator.k8s.io",
    "scheduledworkflow.kubeflow.org",
}


@pytest.fixture(scope="module")
def fleet(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    fleet = Fleet(target, tmp_path_factory.mktemp("fleet"))
    fleet.run()
    return fleet


def test_each_row_of_the_table_has_an_operator() -> None:
    assert OPERATORS.keys() | SCHEDULERS == TABLE.keys()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", OPERATORS)
def test_a_kind_of_the_table(fleet: Fleet, kind: str) -> None:
    _check(fleet, kind)


@pytest.mark.timeout(600)
def test_kinds_that_nobody_knows(fleet: Fleet) -> None:
    """Their names are random; pods belong to them through other custom resources, Jobs and pods."""
    for kind in fleet.unknown:
        _check(fleet, kind)


def _check(fleet: Fleet, kind: str) -> None:
    if kind in fleet.errors:
        raise fleet.errors[kind]
    for task in fleet.tasks[kind]:
        key = _key(task)
        assert key in fleet.running
        recorded = [lines for _, lines in fleet.recordings[key]]
        assert len(recorded) == 1, "one recording"
        for lines in recorded + fleet.shown.get(key, []):
            assert Counter(line["text"] for line in lines) == Counter(task.texts), "every line exactly once"
            assert [_membership(line) for line in lines] == [line["text"].split("|")[:3] for line in lines]
    ends = fleet.tasks[kind][0].operator.ends
    (_check_ends if ends else _check_endless)(fleet, *fleet.tasks[kind])


def _check_ends(fleet: Fleet, whole: Task, failed: Task, *cut_short: Task) -> None:
    operator = whole.operator
    if operator.name in TABLE:  # tasks of other kinds are found by their pods
        row = fleet.created[_key(failed)]
        assert (row["state"], row["status"]) == ("pending", "Suspended" if operator.suspended else ""), row
    assert [fleet.running[_key(task)]["state"] for task in (whole, failed)] == ["running"] * 2
    ends = {"succeeded": whole, "failed": failed}
    for state, task in ends.items():
        info, row = fleet.recordings[_key(task)][0][0], fleet.ended[_key(task)]
        assert (info.done, info.state, row["state"]) == (True, state, state)
    info = fleet.recordings[_key(failed)][0][0]
    assert (info.exit_code, operator.reason in info.message) == (3, True), info.message
    assert operator.reason in fleet.ended[_key(failed)]["message"]
    for task in cut_short:
        info = fleet.recordings[_key(task)][0][0]
        assert (info.done, info.state, fleet.ended[_key(task)]["state"]) == (True, "gone", "gone")


def _check_endless(fleet: Fleet, task: Task) -> None:
    row = fleet.running[_key(task)]
    assert (row["state"], row["pods"]) == ("running", task.pods)
    assert fleet.ended[_key(task)]["state"] == "running"


def test_nothing_else_is_a_task(fleet: Fleet) -> None:
    """What an operator creates for its tasks is part of them: Jobs, Deployments, pods, and other custom resources."""
    keys = {_key(task) for tasks in fleet.tasks.values() for task in tasks}
    assert fleet.running.keys() <= keys and fleet.ended.keys() <= keys
