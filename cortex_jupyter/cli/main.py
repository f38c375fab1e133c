"""The command line: what may be written, who does it, and how errors are told."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NoReturn

from cortex_jupyter._version import __version__
from cortex_jupyter.cli.terminal import say
from cortex_jupyter.errors import BadQuery, CortexError, ReadingWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: What a shell says of a program that an interrupt or a closed pipe has ended: 128 and the signal's number.
_INTERRUPTED: Final = 130
_CLOSED_PIPE: Final = 141
_SPREADSHEET: Final = (
    "of CSV: cells that a spreadsheet would run as a formula (=, +, -, @, tab first) begin with an apostrophe"
)
_EPILOG: Final = """\
TASK is [NAMESPACE:][KIND/]NAME, for instance train-1, ml:job/train-1, deployment/api.
Data goes to standard output, everything else to standard error.
"""


def parser() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    made = _Parser("cortex-jupyter", description="The logs of Kubernetes tasks.", epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    made.add_argument("--version", action="version", version=f"cortex-jupyter {__version__}")
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    tasks = commands.add_parser("tasks", help="list the tasks of a namespace")
    _where(tasks)
    tasks.add_argument(
        "-l", "--selector", default="", metavar="SELECTOR", help="a label selector of pods: tasks that have such pods"
    )
    tasks.add_argument("-o", "--output", choices=("text", "json"), default="text")

    logs = commands.add_parser("logs", help="write the log of a task", epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    _task(logs)
    logs.add_argument("-f", "--follow", action="store_true", help="go on to the task's end; exits with its exit code")
    logs.add_argument("--strict", action="store_true", help="exit with 4 where lines are missing (with -f, unless the task's own code says that it failed)")  # fmt: skip
    logs.add_argument("-o", "--output", choices=("text", "json", "ndjson"), default="text")
    logs.add_argument("--prefix", choices=("auto", "always", "never"), default="auto", help="pod and container before each line (auto: on a terminal, where there are several)")  # fmt: skip

    export = commands.add_parser("export", help="write the log of a task to a file")
    _task(export, "FILE")
    export.add_argument("file", metavar="FILE", help="by its suffix: .parquet, .ndjson, .txt, .csv, each but the first also with .gz")  # fmt: skip
    export.add_argument("--spreadsheet", action="store_true", help=_SPREADSHEET)
    export.add_argument("--mask", action="store_true", help="tokens, keys, passwords and e-mail addresses masked")

    sql = commands.add_parser("sql", help="ask logs by SQL: `select level, count(*) from logs group by 1`")
    sql.add_argument("statement", metavar="SQL", help="for DuckDB; the table is `logs`")
    sql.add_argument("tasks", nargs="*", metavar="TASK", help="tasks or files (default: all that are recorded or archived of the namespace)")  # fmt: skip
    sql.add_argument("-n", "--namespace", metavar="NS", help="default: CORTEX_NAMESPACE, else the kubeconfig's")
    sql.add_argument("-o", "--output", choices=("text", "ndjson", "csv"), default="text")
    sql.add_argument("--spreadsheet", action="store_true", help=_SPREADSHEET)
    sql.add_argument("--rows", type=int, default=1000, metavar="N", help="of a text table at most")

    archive = commands.add_parser("archive", help="write completed recordings to managed content as Parquet")
    archive.add_argument(
        "--to",
        metavar="URL",
        help="a folder, s3://, gs:// or az://, from then on the archive of a store of your own (default: CORTEX_ARCHIVE)",
    )
    archive.add_argument("--store", metavar="URL", help="default: CORTEX_STORE")
    archive.add_argument("--log", action="store_true", help=argparse.SUPPRESS)  # in the form of our own log
    archive.add_argument("--again", action="store_true", help="also what is archived already")

    store = commands.add_parser("store", help="show or set what holds for all who use a store")
    actions = store.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=_Parser)
    show = actions.add_parser("show", help="what is set")
    show.add_argument("-o", "--output", choices=("text", "json"), default="text")
    change = actions.add_parser("set", help="set it, as the administrator of a shared store")
    change.add_argument("settings", metavar="NAME=VALUE", nargs="+", help="archive=s3://..., max-bytes=50GB, max-age=30d, max-task-bytes=2GB, mask=on; an empty value takes one back")  # fmt: skip
    for one in (show, change):
        one.add_argument("--store", metavar="URL", help="default: CORTEX_STORE")

    commands.add_parser("record", help="run the recorder in the foreground", add_help=False)

    demo = commands.add_parser("demo", help="open JupyterLab with a task that is running")
    demo.add_argument("--port", type=int, default=0, help="of the Jupyter server (default: a free one)")
    demo.add_argument("--no-browser", action="store_true", help="only print the address")

    doctor = commands.add_parser("doctor", help="judge the installation: what works, and what to do about what does not; exits with 1 where something is bad")  # fmt: skip
    _where(doctor)
    doctor.add_argument("--json", action="store_true", help="one object: ok, findings (part, judged: ok, warn, bad or told, text, todo, details)")  # fmt: skip
    doctor.add_argument("--timeout", type=float, default=4.0, metavar="S", help="to wait for each part (default: %(default)g)")  # fmt: skip
    return made


class _Parser(argparse.ArgumentParser):
    """Tells a wrong command line as all other errors."""

    def error(self, message: str) -> NoReturn:
        tell(BadQuery(message, f"`{self.prog} --help` lists the options"))
        raise SystemExit(2)


def _where(to: argparse.ArgumentParser) -> None:
    to.add_argument("-n", "--namespace", metavar="NS", help="default: CORTEX_NAMESPACE, else the kubeconfig's")
    to.add_argument("--kubeconfig", metavar="PATH")
    to.add_argument("--context", metavar="NAME", help="of the kubeconfig")


def _task(to: argparse.ArgumentParser, after: str = "") -> None:
    to.add_argument("task", nargs=None if after else "?", metavar="TASK")
    _where(to)
    if not after:
        to.add_argument(
            "-l", "--selector", metavar="SELECTOR", help="a label selector of pods, as for kubectl, in place of TASK"
        )
    to.add_argument("--since", metavar="TIME", help="90s, 10m, 2h, RFC 3339, all (default: 1m while it runs, else all)")
    to.add_argument("--until", metavar="TIME")
    to.add_argument("--tail", metavar="N", help="only so many of the newest")
    to.add_argument("--pod", metavar="NAME", help="a glob, or several with commas")
    to.add_argument("--container", metavar="NAME")
    to.add_argument(
        "--run",
        metavar="N",
        help="of each container, by its restarts: 0 is the first, -1 the newest, POD/CONTAINER/0 of one; all of it without --since",
    )
    to.add_argument("-p", "--previous", action="store_true", help="the run before the newest, all of it whatever --since: --run -2 --since all")  # fmt: skip
    to.add_argument("--stream", metavar="NAME", help="stdout or stderr")
    to.add_argument("--level", metavar="LEVEL", help="at least this")
    to.add_argument("--grep", metavar="REGEX", action="append", help="may be given several times, as the next two")
    to.add_argument("--exclude", metavar="REGEX", action="append")
    to.add_argument(
        "--where", metavar="CONDITION", action="append", help="on a field: 'status>=500', 'loss<0.1', 'path~/api'"
    )
    to.add_argument("--timestamps", action="store_true", default=None)
    to.add_argument("--pretty", action="store_true", default=None, help="JSON lines spread out")


def run(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says, and give the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["record"]:  # its options are the recorder's own
            command = import_module("cortex_jupyter.recorder.__main__").main
            return int(command(arguments[1:]))
        options = parser().parse_args(arguments)
        warnings.simplefilter("always", ReadingWarning)
        warnings.showwarning = _show_warning
        module = import_module(f"cortex_jupyter.cli.{options.command}")
        act: Callable[[argparse.Namespace], int] = module.run
        code = act(options)
        sys.stdout.flush()
    except CortexError as error:
        tell(error)
        return 2 if type(error) is BadQuery else 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read has enough. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED_PIPE
    return code


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Write what the user should know as a status line, and any other warning as Python does."""
    if issubclass(category, ReadingWarning):
        say(str(message))
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=file or sys.stderr)


def tell(error: CortexError) -> None:
    """Write an error to standard error: what happened, and what to do."""
    print(f"error: {error.message}" + (f"\n\nhint: {error.hint}" if error.hint else ""), file=sys.stderr)
