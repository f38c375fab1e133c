"""The command line: its options, and how commands run and report errors."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn, TextIO

from cortex_jupyter._version import __version__
from cortex_jupyter.cli.terminal import print_status
from cortex_jupyter.errors import BadQuery, CortexError, ReadingWarning
from cortex_jupyter.store.configuration import check_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Exit code after an interrupt: 128 plus the number of the signal, as in shells.
_INTERRUPTED: Final = 130
#: Exit code after a closed pipe: 128 plus the number of the signal, as in shells.
_CLOSED_PIPE: Final = 141
_SPREADSHEET: Final = "in CSV, put an apostrophe before cells that a spreadsheet would run as a formula (those that begin with =, +, -, @, tab)"
_EPILOG: Final = """\
TASK is [NAMESPACE:][KIND/]NAME, such as train-1, ml:job/train-1, deployment/api.
Data goes to standard output, everything else to standard error.
"""
_DELETE_EPILOG: Final = """\
examples:
  cortex-jupyter delete ml:job/train-1 --archive --dry-run
  cortex-jupyter delete -n ml --archive --receipt ml-2026-12-01.json
  cortex-jupyter delete -n ml --before 90d --yes

The receipt names each recording with its task, lines, bytes, times and objects, and what was refused and why.
"""
_SEARCH_EPILOG: Final = """\
examples:
  cortex-jupyter search "CUDA out of memory" -n ml
  cortex-jupyter search "loss=nan OR loss=inf" ml:train-1 ml:train-2 --since 2h
  cortex-jupyter search "/timeout after \\d+ s/ -retry level>=warning" -c

A text without capital letters matches in any case. -word excludes, "a b" is literal, and conditions are loss<0.1.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    root = _Parser(
        "cortex-jupyter",
        description="The logs of Kubernetes tasks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"cortex-jupyter {__version__}")
    commands = root.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    tasks = commands.add_parser("tasks", help="list the tasks of a namespace")
    _where(tasks)
    tasks.add_argument(
        "-l", "--selector", default="", metavar="SELECTOR", help="label selector for pods: list tasks with such pods"
    )
    tasks.add_argument("-o", "--output", choices=("text", "json"), default="text")

    logs = commands.add_parser(
        "logs", help="write the log of a task", epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _task(logs)
    logs.add_argument(
        "-f", "--follow", action="store_true", help="follow the log until the task ends; exit with the task's exit code"
    )
    logs.add_argument(
        "--strict",
        action="store_true",
        help="exit with 4 if lines are missing (with -f only if the task itself succeeded)",
    )
    logs.add_argument("-o", "--output", choices=("text", "json", "ndjson"), default="text")
    _prefix(logs)

    _add_search(commands)

    export = commands.add_parser("export", help="write the log of a task to a file")
    _task(export, "FILE")
    export.add_argument(
        "file",
        metavar="FILE",
        help="its suffix sets the format: .parquet, .ndjson, .txt, .csv; all but .parquet also with .gz",
    )
    export.add_argument("--spreadsheet", action="store_true", help=_SPREADSHEET)
    export.add_argument("--mask", action="store_true", help="mask tokens, keys, passwords and e-mail addresses")

    sql = commands.add_parser("sql", help="query logs with SQL: `select level, count(*) from logs group by 1`")
    sql.add_argument("statement", metavar="SQL", help="statement for DuckDB; the table is `logs`")
    sql.add_argument(
        "tasks",
        nargs="*",
        metavar="TASK",
        help="tasks or files (default: all recorded or archived tasks of the namespace)",
    )
    sql.add_argument("-n", "--namespace", metavar="NS", help="default: CORTEX_NAMESPACE, else the kubeconfig's")
    sql.add_argument("-o", "--output", choices=("text", "ndjson", "csv"), default="text")
    sql.add_argument("--spreadsheet", action="store_true", help=_SPREADSHEET)
    sql.add_argument("--rows", type=int, default=1000, metavar="N", help="maximum number of rows in text output")

    archive = commands.add_parser("archive", help="write completed recordings to the archive, as Parquet")
    archive.add_argument(
        "--to",
        metavar="URL",
        help="the archive: a folder, s3://, gs:// or az://; a store that is not shared remembers it (default: CORTEX_ARCHIVE)",
    )
    archive.add_argument("--store", metavar="URL", help="default: CORTEX_STORE")
    archive.add_argument("--again", action="store_true", help="archive again what is archived already")

    _add_delete(commands)
    _add_store(commands)
    commands.add_parser("record", help="run the recorder in the foreground", add_help=False)

    demo = commands.add_parser("demo", help="open JupyterLab with the log of a running task")
    demo.add_argument("--port", type=int, default=0, help="port of the Jupyter server (default: a free one)")
    demo.add_argument("--no-browser", action="store_true", help="only print the address")

    doctor = commands.add_parser(
        "doctor",
        help="check the installation: what works, and what to do about what does not; exit with 1 if something is bad",
    )
    doctor.add_argument(
        "-n",
        "--namespace",
        action="append",
        default=[],
        metavar="NS",
        help="the namespace of tasks; may be given several times (default: those of the collector in this pod, else "
        "CORTEX_NAMESPACE, else the kubeconfig's)",
    )
    _cluster(doctor)
    doctor.add_argument(
        "--json",
        action="store_true",
        help="write one object: ok, findings (part, judged: ok, warn, bad or told, text, todo, details)",
    )
    doctor.add_argument(
        "--timeout", type=float, default=4.0, metavar="S", help="seconds to wait for each check (default: %(default)g)"
    )
    return root


def _add_delete(commands: argparse._SubParsersAction[_Parser]) -> None:
    delete = commands.add_parser(
        "delete",
        help="delete recordings from the store and the archive, as an administrator; print a receipt",
        epilog=_DELETE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    delete.add_argument("tasks", nargs="*", metavar="TASK", help="tasks (default: all of --namespace and --before)")
    delete.add_argument(
        "-n",
        "--namespace",
        metavar="NS",
        help="all tasks of this namespace; with TASK, the namespace of tasks that name none",
    )
    delete.add_argument(
        "--before",
        metavar="TIME",
        help="only tasks that ended before this: 30d, 2026-01-31, RFC 3339 (without a zone: UTC)",
    )
    delete.add_argument("--archive", action="store_true", help="delete from the archive too")
    delete.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    delete.add_argument("--yes", action="store_true", help="do not ask before more than one recording is deleted")
    delete.add_argument(
        "--receipt", metavar="FILE", help="write the receipt to this new file (default: standard output)"
    )
    delete.add_argument(
        "--record-again",
        action="store_true",
        help="let the tasks be recorded again, as far as the cluster still has their logs (default: a deleted task is not)",
    )
    delete.add_argument("--store", metavar="URL", help="default: CORTEX_STORE")
    delete.add_argument("--kubeconfig", metavar="PATH")
    delete.add_argument("--context", metavar="NAME", help="context of the kubeconfig")


def _add_store(commands: argparse._SubParsersAction[_Parser]) -> None:
    store = commands.add_parser(
        "store", help="show or change the settings of a store, hold recordings, back it up or restore it"
    )
    actions = store.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=_Parser)
    show = actions.add_parser("show", help="show the settings")
    show.add_argument("-o", "--output", choices=("text", "json"), default="text")
    change = actions.add_parser("set", help="change settings, as the administrator of a shared store")
    change.add_argument(
        "--namespace",
        metavar="NAME",
        default="",
        help="set the quota of one namespace, or with '*' of all that have none: max-bytes=20GB, max-age=30d, max-lines-per-s=5000 (of one task)",
    )
    change.add_argument(
        "settings",
        metavar="NAME=VALUE",
        nargs="+",
        help="archive=s3://..., max-bytes=50GB, max-age=30d, max-task-bytes=2GB, mask=on, collectors=2 (how many are wanted, for the doctor); an empty value removes a setting",
    )
    lock = actions.add_parser("lock", help="let nobody change the settings, not even a collector's environment")
    lock.add_argument("--off", action="store_true", help="let them be changed again")
    hold = actions.add_parser("hold", help="set a legal hold: all recordings of a task stay, whatever is set or asked")
    hold.add_argument("--reason", metavar="TEXT", required=True, help="why; `store show` and the doctor show it")
    release = actions.add_parser("release", help="release a legal hold")
    for action in (hold, release):
        action.add_argument("tasks", metavar="TASK", nargs="+")
        _where(action)
    backup = actions.add_parser("backup", help="copy a SQLite store to a file, while it is in use")
    backup.add_argument("file", metavar="FILE", help="a new file")
    restore = actions.add_parser("restore", help="replace a SQLite store by a backup, while no recorder runs")
    restore.add_argument("file", metavar="FILE", help="a file that `store backup` has written")
    restore.add_argument("--replace", action="store_true", help="remove the recordings that the store holds now")
    for action in (show, change, lock, hold, release, backup, restore):
        action.add_argument("--store", metavar="URL", help="default: CORTEX_STORE")


def _add_search(commands: argparse._SubParsersAction[_Parser]) -> None:
    search = commands.add_parser(
        "search",
        help="search the logs of many tasks; exit with 1 if no line matches, with 2 after an error",
        epilog=_SEARCH_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    search.add_argument("text", metavar="TEXT", help="what lines must contain, as in the viewer's filter box")
    search.add_argument(
        "tasks", nargs="*", metavar="TASK", help="tasks (default: all recorded or archived tasks of the namespace)"
    )
    _where(search)
    search.add_argument("-l", "--selector", default="", metavar="SELECTOR", help="only tasks with pods of these labels")
    _filters(search, "all")
    search.add_argument(
        "-m",
        "--max-count",
        type=int,
        default=1000,
        metavar="N",
        help="only the newest N lines of each task (default: %(default)s; 0 for 10 000)",
    )
    search.add_argument(
        "-c",
        "--count",
        action="store_true",
        help="write the number of lines of each task that has any; N+ means at least N",
    )
    _prefix(search)
    search.add_argument("--timestamps", action="store_true", help="write the time before each line")
    search.add_argument("-o", "--output", choices=("text", "json", "ndjson"), default="text")


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line like any other error."""

    def error(self, message: str) -> NoReturn:
        report_error(BadQuery(message, f"`{self.prog} --help` lists the options"))
        raise SystemExit(2)


def _where(to: argparse.ArgumentParser) -> None:
    to.add_argument("-n", "--namespace", metavar="NS", help="default: CORTEX_NAMESPACE, else the kubeconfig's")
    _cluster(to)


def _cluster(to: argparse.ArgumentParser) -> None:
    to.add_argument("--kubeconfig", metavar="PATH")
    to.add_argument("--context", metavar="NAME", help="context of the kubeconfig")


def _prefix(to: argparse.ArgumentParser) -> None:
    to.add_argument(
        "--prefix",
        choices=("auto", "always", "never"),
        default="auto",
        help="write pod and container before each line (auto: on a terminal, if there are several containers)",
    )


def _task(to: argparse.ArgumentParser, after: str = "") -> None:
    to.add_argument("task", nargs=None if after else "?", metavar="TASK")
    _where(to)
    if not after:
        to.add_argument(
            "-l", "--selector", metavar="SELECTOR", help="label selector for pods, as in kubectl, instead of TASK"
        )
    _filters(to, "1m while the task runs, else all")
    to.add_argument("--tail", metavar="N", help="only the newest N lines")
    to.add_argument(
        "-p", "--previous", action="store_true", help="the whole run before the newest: --run -2 --since all"
    )
    if not after:
        to.add_argument(
            "-C",
            "--around",
            type=int,
            default=0,
            metavar="N",
            help="also N lines before and after each match of --grep, --exclude, --where and --level, as grep -C",
        )
    to.add_argument("--timestamps", action="store_true", default=None)
    to.add_argument("--pretty", action="store_true", default=None, help="write JSON lines with indentation")


def _filters(to: argparse.ArgumentParser, default_since: str) -> None:
    """Add the options that choose lines."""
    to.add_argument(
        "--since",
        metavar="TIME",
        help=f"90s, 10m, 2h, yesterday, 10:00, RFC 3339 (without a zone: UTC), all (default: {default_since})",
    )
    to.add_argument("--until", metavar="TIME")
    to.add_argument("--pod", metavar="NAME", help="a name, a glob, or several separated by commas")
    to.add_argument("--container", metavar="NAME")
    to.add_argument(
        "--role",
        metavar="NAME",
        help="role in the task, such as worker: a name, a glob, or several separated by commas",
    )
    to.add_argument("--rank", metavar="N", help="rank: 3, 0-3, or several separated by commas; 2-* is group 2")
    to.add_argument(
        "--run",
        metavar="N",
        help="run of each container, counted by restarts: 0 is the first, -1 the newest; POD/CONTAINER/0 for one container; without --since, the whole run",
    )
    to.add_argument(
        "--attempt",
        metavar="N",
        help="attempt of the task: 0 is the first, -1 the newest; without --since, the whole attempt",
    )
    to.add_argument("--stream", metavar="NAME", help="stdout or stderr")
    to.add_argument("--level", metavar="LEVEL", help="at least this level; info,error or =info: exactly these")
    to.add_argument("--grep", metavar="REGEX", action="append", help="may be repeated, like --exclude and --where")
    to.add_argument("--exclude", metavar="REGEX", action="append")
    to.add_argument(
        "--where",
        metavar="CONDITION",
        action="append",
        help="condition on a field: 'status>=500', 'loss<0.1', 'path~/api'",
    )


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["record"]:  # the recorder parses its own options
            command = import_module("cortex_jupyter.recorder.__main__").main
            return int(command(arguments[1:]))
        options = _parse(arguments)
        if options.command != "doctor":  # which reports all problems
            check_settings()
        warnings.simplefilter("always", ReadingWarning)
        warnings.showwarning = _show_warning
        module = import_module(f"cortex_jupyter.cli.{options.command}")
        run_command: Callable[[argparse.Namespace], int] = module.run
        code = run_command(options)
        sys.stdout.flush()
    except CortexError as error:
        report_error(error)
        return 2 if type(error) is BadQuery else 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of the pipe has ended. Without this, Python's flush at exit would fail with another error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED_PIPE
    return code


def _parse(arguments: list[str]) -> argparse.Namespace:
    root = parser()
    options, rest = root.parse_known_args(arguments)
    # argparse takes no more tasks after an option: `search TEXT -n ml TASK`.
    if rest and (not hasattr(options, "tasks") or any(word.startswith("-") for word in rest)):
        root.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.tasks = [*options.tasks, *rest]
    return options


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Write our own warnings as status lines, and all others as Python does."""
    if issubclass(category, ReadingWarning):
        print_status(str(message))
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=file or sys.stderr)


def report_error(error: CortexError) -> None:
    """Write an error and its hint to standard error."""
    print(f"error: {error.message}" + (f"\n\nhint: {error.hint}" if error.hint else ""), file=sys.stderr)
