"""What one server gives at most, to all and to each user, as settings; the table in docs/reference/limits.md says what to do when one is reached."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from traitlets import Float, HasTraits, Int

from cortex_jupyter.query.bounds import MAX_LIMIT, PAGE_SIZE, QUERY_S, Bounds
from cortex_jupyter.query.pattern import SECONDS

if TYPE_CHECKING:
    from cortex_jupyter.query.language import LogQuery


class Limits(HasTraits):  # type: ignore[misc]  # traitlets tells no types
    """The limits of a server; no ordinary reader meets one."""

    max_streams = Int(500, min=1, help="Streams, searches and downloads open at one time, of all users together.").tag(
        config=True
    )
    max_streams_per_user = Int(
        100,
        min=1,
        help="Of them, those of one user. Whoever comes with the server's own token is one user, whatever their name.",
    ).tag(config=True)
    max_tasks_per_stream = Int(50, min=1, help="Tasks of one stream.").tag(config=True)
    max_viewers = Int(200, min=1, help="Streams that follow one task at one time.").tag(config=True)
    max_bytes_per_s = Int(
        0,
        min=0,
        help="Bytes a second of one stream, search or download; what has more is slowed down and loses nothing. 0 for no limit, which a service of a JupyterHub has at 32 MB.",
    ).tag(config=True)
    max_searches = Int(
        8, min=1, help="Searches at work at one time, of one user half of them; others wait. Each is a process."
    ).tag(config=True)
    max_page_records = Int(
        MAX_LIMIT,
        min=1,
        max=MAX_LIMIT,
        help="Records of a page, whatever its `limit`; `older` and `newer` lead to the others.",
    ).tag(config=True)
    max_page_size = Int(
        PAGE_SIZE, min=1, help="Characters of a page's lines, in the same way; a page has one line however long it is."
    ).tag(config=True)
    max_pages = Int(
        4,
        min=1,
        help="Pages being read at one time, of one user half of them; others wait. Each is `max_page_size` of memory.",
    ).tag(config=True)
    max_buffered = Int(
        1_000_000_000, min=1, help="Bytes of pages that are made and not sent yet, of all users together."
    ).tag(config=True)
    max_buffered_per_user = Int(256_000_000, min=1, help="Of them, those of one user; a page alone may be larger.").tag(
        config=True
    )
    max_files = Int(
        16,
        min=1,
        help="Parquet files being written or sent at one time, of all users together; each is a temporary file.",
    ).tag(config=True)
    max_files_per_user = Int(4, min=1, help="Of them, those of one user.").tag(config=True)
    max_file_bytes = Int(
        4_000_000_000, min=1, help="Bytes of one such file on the disk; an archived recording is sent as it is."
    ).tag(config=True)
    max_query_s = Float(
        QUERY_S,
        min=0,
        help="Seconds after which a page or a search ends with what it has, and a cursor to go on; a chart with what it has.",
    ).tag(config=True)
    max_pattern_s = Float(
        SECONDS, min=0.01, help="Seconds of computing that a regular expression may take for the lines of one batch."
    ).tag(config=True)

    def bounded(self, query: LogQuery) -> LogQuery:
        """Give a query within these limits."""
        bounds = Bounds(
            pattern_s=self.max_pattern_s, query_s=self.max_query_s,
            page_records=self.max_page_records, page_size=self.max_page_size,
        )  # fmt: skip
        return replace(query, bounds=bounds)
