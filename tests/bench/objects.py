"""Bytes and requests that reading an archive in S3 takes, counted in front of a real server on loopback."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from archive.made import archived
from archive.s3 import gate, seaweed
from support.filled import Filled, new_store

from cortex_jupyter.archive.catalog import Catalog
from cortex_jupyter.archive.objects import ObjectStore
from cortex_jupyter.archive.store import ArchiveStore
from cortex_jupyter.query.language import LogQuery
from cortex_jupyter.tables.read import read

if TYPE_CHECKING:
    from bench.report import Report

#: The window is much longer than a row group (65 536 lines): a read fetches the row groups at its edges whole, although it needs
#: only parts of them.
LINES, WINDOW, TASKS = 800_000, 200_000, 1_000
_URL = "s3://logs/bench"


def run(report: Report) -> None:
    """Measure reads of one archived task among many."""
    with tempfile.TemporaryDirectory() as folder, seaweed(Path(folder)) as port, gate(port) as made:
        os.environ.update(made.env)
        store = new_store(Path(folder))
        filled = Filled(store)
        for start in range(0, LINES, 2000):
            filled.lines(
                [
                    (
                        1 + i % 2,
                        i * 1_000_000,
                        f"2026-01-01 INFO step {i} {hash(str(i)) & 0xFFFFFFFFFF:x} loss={i % 997 / 997:.4f}",
                    )
                    for i in range(start, start + 2000)
                ]
            )
        _, held = archived(filled.end(), _URL)
        store.close()
        made.requests.clear()
        query = LogQuery.parse({"since": "2026-01-01T00:04:10Z", "until": "2026-01-01T00:07:29.999Z"})
        found = ArchiveStore(_URL)
        info = found.find(filled.ref)
        assert info is not None and len(read(found, info.id, query)) == WINDOW
        data = sum(size for _, path, size in made.requests if ".parquet" in path) - held.about["footer"]
        report.add(
            "window of 200 000 of 800 000 lines: bytes beside footer / share",
            data / held.file.size * LINES / WINDOW,
            1.4,
        )
        report.add("requests for that", len(made.requests), 5, "")
        made.requests.clear()
        assert len(read(ArchiveStore(_URL), info.id, LogQuery.parse({"grep": "OutOfMemoryError"}))) == 0
        data = sum(size for _, path, size in made.requests if ".parquet" in path)
        report.add("grep for a word that no line has: bytes / file", data / held.file.size, None)
        place = ObjectStore(_URL)
        for i in range(TASKS):
            about = held.about | {"id": i + 1, "ref": {"namespace": "many", "kind": "job", "name": f"run-{i}"}}
            place.put(f"many/job/run-{i}/{i + 1}.json", orjson.dumps(about))
        Catalog(ObjectStore(_URL)).refresh_manifest_cache("many")
        made.requests.clear()
        assert len(Catalog(ObjectStore(_URL)).all("many")) == TASKS
        report.add("requests to know 1 000 archived tasks", len(made.requests), 5, "")
        report.add("bytes for that", sum(size for _, _, size in made.requests) / 1000, None, "kB")
