"""`%tasklogs`: list tasks or show a log, with the functions `tasks` and `logs`.

IPython does not expand the line: it would take `{3}` in a regular expression for a variable, and leave quotes in values.
Only the task's name is expanded here (architecture.md, "Notebook").
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any, Final

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import MagicArgumentParser

from cortex_jupyter.errors import BadQuery, CortexError
from cortex_jupyter.notebook.completion import IDENTIFIER, Completer
from cortex_jupyter.notebook.query import parse_query, take_viewer_options
from cortex_jupyter.notebook.search import SearchResult, search
from cortex_jupyter.notebook.tasklog import TaskLog, logs, tasks
from cortex_jupyter.query.language import SEVERAL

if TYPE_CHECKING:
    import argparse

    from IPython.core.interactiveshell import InteractiveShell

    from cortex_jupyter.notebook.tasktable import TaskTable

#: Help of each parameter of a query.
QUERY: Final = {
    "since": "how far back: 90s, 10m, 2h, yesterday, 10:00 (UTC), an RFC 3339 time, or all",
    "until": "only lines until this time",
    "tail": "only the newest N lines",
    "pod": "only this pod; a glob, or several separated by commas",
    "container": "only this container",
    "role": "only this role in the task, such as worker; a glob, or several separated by commas",
    "rank": "only this rank: 3, 0-3, or several separated by commas",
    "run": "only this run of a container: 0 is the first, -1 the newest, -2 the one before",
    "attempt": "only this attempt of the task: 0 is the first, -1 the newest",
    "stream": "stdout or stderr",
    "level": "at least this level: warning, error, ...",
    "grep": "only lines that match this regular expression",
    "exclude": "no lines that match this regular expression",
    "where": "only lines whose field meets this condition: status>=500, loss<0.1, path~/api",
}
_VARIABLE: Final = re.compile(r"\{([A-Za-z_]\w*)\}|\$([A-Za-z_]\w*)")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the line."""
    root: argparse.ArgumentParser = MagicArgumentParser("tasklogs")
    root.add_argument(
        "tasks", nargs="*", metavar="task", help="[NAMESPACE:][KIND/]NAME; without it the tasks are listed"
    )
    root.add_argument(
        "--search", metavar="TEXT", help="search this text in all tasks of the namespace, or in those that are named"
    )
    for name, text in QUERY.items():
        root.add_argument(f"--{name}", help=text, action="append" if name in SEVERAL else "store")
    root.add_argument("-l", "--selector", help="label selector for pods: for the list, or instead of a task")
    root.add_argument("-n", "--namespace")
    root.add_argument("--kubeconfig", help="path of a kubeconfig")
    root.add_argument("--context", help="context of the kubeconfig")
    root.add_argument("--no-timestamps", action="store_true", help="hide the times of lines")
    root.add_argument("--pretty", action="store_true", help="show JSON lines with indentation")
    root.add_argument("--height", type=int, metavar="N", help="height of the viewer in pixels")
    root.add_argument("--df", metavar="NAME", help="also store the log as a pandas DataFrame in this variable")
    root.add_argument("--wait", action="store_true", help="first wait until the task has ended")
    return root


@magics_class
class TaskLogsMagics(Magics):  # type: ignore[misc]
    """The magic `%tasklogs`."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        options = {n: a for n, a in parser()._option_string_actions.items() if n[:2] == "--"}  # noqa: SLF001 - argparse has no other list
        self.completer = Completer(sorted(options), (name for name, action in options.items() if action.nargs == 0))

    @no_var_expand  # type: ignore[untyped-decorator]
    @line_magic  # type: ignore[untyped-decorator]
    def tasklogs(self, line: str) -> TaskLog | TaskTable | SearchResult | None:
        """List the tasks, or show the log of one.

        %tasklogs                                   the tasks of the namespace
        %tasklogs train-1                           its log, live
        %tasklogs ml:deployment/api --since 10m --level warning --grep "loss=nan"
        %tasklogs train-1 --df df --wait            when it has ended, and as a DataFrame too
        %tasklogs --search "CUDA out of memory"     the lines of all tasks that match

        Options: --search --since --until --tail --pod --container --role --rank --run --attempt --stream --level --grep --exclude
        --where --namespace --selector --no-timestamps --pretty --height N --df NAME --wait --kubeconfig --context
        """
        try:
            root = parser()
            options, rest = root.parse_known_args(split(line))
            if any(word.startswith("-") for word in rest):
                root.error(f"unrecognized arguments: {' '.join(rest)}")
            options.tasks += rest  # argparse takes no more tasks after an option
            return self._run(options)
        except CortexError as error:
            # IPython shows a UsageError as one line. Our traceback would not help.
            raise UsageError(str(error)) from None

    def _run(self, options: argparse.Namespace) -> TaskLog | TaskTable | SearchResult:
        where: dict[str, Any] = {"kubeconfig": options.kubeconfig, "context": options.context}
        namespace = options.namespace
        if options.df and not options.df.isidentifier():
            raise BadQuery(f"{options.df!r} is not a valid variable name", "write --df df")
        if options.search is not None:
            return self._search(options, where)
        if len(options.tasks) > 1:
            raise BadQuery(f"{len(options.tasks)} tasks are given", "name one; --search TEXT searches in several")
        options.task = options.tasks[0] if options.tasks else None
        if options.task is None and (options.selector is None or not self._asks_for_log(options)):
            table = tasks(namespace, options.selector or "", **where)
            self.completer.learn(task["task"] for task in table)
            return table
        if options.task and options.selector:
            raise BadQuery("both a task and a selector are given", "give one of them")
        query = {name: value for name in QUERY if (value := getattr(options, name)) is not None}
        query |= {name: query[name][0] for name in SEVERAL if len(query.get(name, ())) == 1}
        query |= {"timestamps": False} if options.no_timestamps else {}
        query |= {"pretty": True} if options.pretty else {}
        parse_query(query)
        task = f"-l {options.selector}" if options.selector else self._expanded(options.task)
        log = logs(task, namespace=namespace, **where, **query)
        self.completer.learn([log.task])
        if options.height is not None:
            log.looks |= take_viewer_options({"height": options.height})
        if options.wait:
            log.wait()
        if options.df:
            self.shell.user_ns[options.df] = log.to_pandas()
        return log

    def _search(self, options: argparse.Namespace, where: dict[str, Any]) -> SearchResult:
        unused = {
            "--wait": options.wait,
            "--tail": options.tail,
            "--height": options.height,
            "--pretty": options.pretty,
        }
        for name, value in unused.items():
            if value:
                raise BadQuery(f"{name} does not go with --search", f"leave out {name}")
        query = {name: value for name in QUERY if (value := getattr(options, name)) is not None}
        names = [self._expanded(task) for task in options.tasks]
        where |= {"namespace": options.namespace, "selector": options.selector or ""}
        result = search(options.search, names or None, **where, **query)
        if options.df:
            self.shell.user_ns[options.df] = result.to_pandas()
        return result

    def _asks_for_log(self, options: argparse.Namespace) -> bool:
        return bool(options.df or options.wait or any(getattr(options, name) is not None for name in QUERY))

    def _expanded(self, task: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if name not in self.shell.user_ns:
                raise BadQuery(f"there is no variable {name!r}", "set the variable, or write the task's name")
            return str(self.shell.user_ns[name])

        return _VARIABLE.sub(value, task)


def split(line: str) -> list[str]:
    r"""Split a line at spaces. Remove quotes around values, and keep backslashes.

    Raises
    ------
    UsageError
        A quote is not closed.

    Examples
    --------
    >>> split(r'''train-1 --grep "a b{3}\d" --exclude='x y' ''')
    ['train-1', '--grep', 'a b{3}\\d', '--exclude=x y']
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return list(lexer)
    except ValueError as error:
        raise UsageError(f"%tasklogs: {error}: {line.strip()}") from error


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Register the magic: `%load_ext cortex_jupyter`.

    Parameters
    ----------
    ipython : InteractiveShell
    """
    magics = TaskLogsMagics(ipython)
    ipython.register_magics(magics)
    matchers = ipython.Completer.custom_matchers
    other_matchers = [m for m in matchers if getattr(m, "matcher_identifier", "") != IDENTIFIER]
    matchers[:] = [*other_matchers, magics.completer.matches]
