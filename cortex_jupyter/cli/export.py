"""`cortex-jupyter export`: write a log to a file."""

from __future__ import annotations

import csv
import gzip
import io
import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

import orjson

from cortex_jupyter.cli.query import log_of
from cortex_jupyter.cli.terminal import print_status
from cortex_jupyter.errors import BadQuery
from cortex_jupyter.model import MEMBERSHIP
from cortex_jupyter.notebook.recording_reader import progress
from cortex_jupyter.tables.convert import whole
from cortex_jupyter.tables.statement import format_count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from cortex_jupyter.notebook.masked import Masked
    from cortex_jupyter.notebook.record import Record
    from cortex_jupyter.notebook.tasklog import TaskLog

#: Characters with which a spreadsheet formula can begin (https://owasp.org/www-community/attacks/CSV_Injection).
FORMULA: Final = "^[=+\\-@\\t\\r\\n\uff1d\uff0b\uff0d\uff20]"
_KINDS: Final = (".parquet", ".ndjson", ".jsonl", ".txt", ".log", ".csv")
_CSV: Final = ("seq", "time", "pod", "container", "kind", "run", "node", "stream", "level", "text", *MEMBERSHIP)


def run(options: argparse.Namespace) -> int:
    """Write the log of a task, as it is now, to a file in the format of the file's suffix."""
    target = Path(options.file)
    is_gzip = target.suffix == ".gz"
    kind = Path(target.stem).suffix if is_gzip else target.suffix
    if kind not in _KINDS or (is_gzip and kind == ".parquet"):
        raise BadQuery(
            f"cannot tell the format from the name {target.name!r}",
            f"end the name in {', '.join(_KINDS)}; all but .parquet may be followed by .gz",
        )
    if options.spreadsheet and kind != ".csv":
        raise BadQuery("--spreadsheet works with CSV only", "end the name in .csv or .csv.gz")
    log = log_of(options).mask() if options.mask else log_of(options)
    if kind == ".parquet":
        log.to_parquet(target)
    else:
        total = len(log)

        def write(path: Path) -> None:
            with progress(f"writing {target.name}", total) as bar, _open(path, is_gzip=is_gzip) as out:
                records = _with_progress(log.records(), bar)
                if kind == ".csv":
                    _csv(out, records, is_for_spreadsheet=options.spreadsheet)
                else:
                    _WRITERS[kind](out, records, log)

        whole(target, write)
    print_status(f"{target}: {format_count(target.stat().st_size, 'byte')}")
    print_status(str(log.complete))
    return 0


def _open(path: Path, *, is_gzip: bool) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "wb", compresslevel=6)) if is_gzip else path.open("wb")


def _with_progress(records: Iterable[Record], bar: Any) -> Iterable[Record]:
    for record in records:
        bar.update()
        yield record


def _ndjson(out: IO[bytes], records: Iterable[Record], _: TaskLog | Masked) -> None:
    for record in records:
        out.write(orjson.dumps(record.as_dict(), option=orjson.OPT_APPEND_NEWLINE))


def _txt(out: IO[bytes], records: Iterable[Record], log: TaskLog | Masked) -> None:
    form = log.text_format
    for record in records:
        text = form.line(record.pod, record.container, record.ns, record.text)
        out.write(f"{text}\n".encode("utf-8", "replace"))


def _csv(out: IO[bytes], records: Iterable[Record], *, is_for_spreadsheet: bool) -> None:
    is_formula = re.compile(FORMULA).match
    with io.TextIOWrapper(out, encoding="utf-8", errors="replace", newline="", write_through=True) as text:
        rows = csv.DictWriter(text, _CSV)
        rows.writeheader()
        for record in records:
            row = record.as_dict()
            if is_for_spreadsheet:
                row |= {
                    name: f"'{value}" for name, value in row.items() if isinstance(value, str) and is_formula(value)
                }
            rows.writerow(row)


_WRITERS: Final = {".ndjson": _ndjson, ".jsonl": _ndjson, ".txt": _txt, ".log": _txt}
