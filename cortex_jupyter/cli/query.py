"""Find the log that the options of a command name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.errors import BadQuery
from cortex_jupyter.notebook.tasklog import TaskLog, logs
from cortex_jupyter.query.language import NAMES

if TYPE_CHECKING:
    import argparse

#: The parameters of a query that the command line has too. `follow` is a mode of its own; the others are for pages.
_NAMES: Final = tuple(name for name in NAMES if name not in ("follow", "limit", "before", "after"))


def log_of(options: argparse.Namespace) -> TaskLog:
    """Return the log that the command line names.

    Raises
    ------
    BadQuery, TaskNotFound, AmbiguousTask, NotAllowed, ClusterError
    """
    selector = getattr(options, "selector", None)
    if (options.task is None) == (selector is None):
        raise BadQuery(
            "no task is given" if options.task is None else "both a task and a selector are given",
            "name one task; `cortex-jupyter tasks` lists them",
        )
    if options.previous and options.run is not None:
        raise BadQuery("both --previous and --run are given", "give one of them; --previous means --run -2")
    query: dict[str, Any] = {name: value for name in _NAMES if (value := getattr(options, name)) is not None}
    if options.previous:
        query |= {"run": "-2", "since": "all"}
    log = logs(
        f"-l {selector}" if selector is not None else options.task,
        namespace=options.namespace,
        kubeconfig=options.kubeconfig,
        context=options.context,
        **query,
    )
    return _with_crashed(log) if options.previous else log


def _with_crashed(log: TaskLog) -> TaskLog:
    """Return the log with the run that crashed, as `kubectl logs -p` does, of containers that wait for their restart.

    That run is the newest one. The run before it is preferred, but it may not be recorded: a node keeps one or two runs.
    """
    if log.over:
        return log
    newest = [(*name, runs[-1]) for name, runs in log.ended_runs().items() if len(runs) == 1 and runs[-1] > 0]
    return log.filter(run=",".join(["-2", *(f"{pod}/{container}/{run}" for pod, container, run in newest)]))
