"""The limits of a server, for all users and for each user, as settings.

docs/reference/limits.md says what to do when a limit is reached.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from traitlets import Float, HasTraits, Int

from cortex_jupyter.query.bounds import MAX_LIMIT, PAGE_SIZE, QUERY_S, Bounds
from cortex_jupyter.query.pattern import SECONDS

if TYPE_CHECKING:
    from cortex_jupyter.query.language import LogQuery


class Limits(HasTraits):  # type: ignore[misc]  # traitlets has no types
    """The limits of a server. Ordinary use reaches none of them."""

    max_streams = Int(
        500, min=1, help="Maximum number of open streams, searches and downloads of all users together."
    ).tag(config=True)
    max_streams_per_user = Int(
        100,
        min=1,
        help="Maximum number of open streams, searches and downloads of one user. All requests with the server's own token count as one user.",
    ).tag(config=True)
    max_tasks_per_stream = Int(50, min=1, help="Maximum number of tasks in one stream.").tag(config=True)
    max_viewers = Int(200, min=1, help="Maximum number of streams that follow one task.").tag(config=True)
    max_bytes_per_s = Int(
        0,
        min=0,
        help="Bytes per second of one stream, search or download. What exceeds this is slowed down and loses nothing. 0 for no limit. The default of a service of a JupyterHub is 32 MB.",
    ).tag(config=True)
    max_searches = Int(
        8,
        min=1,
        help="Searches that run at the same time; one user gets at most half of them. Further searches wait. Each is a process.",
    ).tag(config=True)
    max_page_records = Int(
        MAX_LIMIT,
        min=1,
        max=MAX_LIMIT,
        help="Maximum number of records of a page, whatever its `limit`. The cursors `older` and `newer` lead to the others.",
    ).tag(config=True)
    max_page_size = Int(
        PAGE_SIZE,
        min=1,
        help="Maximum number of characters in a page's lines. A page has at least one line, however long it is.",
    ).tag(config=True)
    max_pages = Int(
        4,
        min=1,
        help="Pages that are read at the same time; one user gets at most half of them. Further pages wait. Each takes up to `max_page_size` of memory.",
    ).tag(config=True)
    max_buffered = Int(
        1_000_000_000, min=1, help="Maximum bytes of pages that are not sent yet, of all users together."
    ).tag(config=True)
    max_buffered_per_user = Int(
        256_000_000,
        min=1,
        help="Maximum bytes of pages that are not sent yet, of one user. A single page may be larger.",
    ).tag(config=True)
    max_files = Int(
        16,
        min=1,
        help="Maximum number of Parquet files that are written or sent at the same time, of all users together. Each is a temporary file.",
    ).tag(config=True)
    max_files_per_user = Int(
        4, min=1, help="Maximum number of Parquet files that are written or sent at the same time, of one user."
    ).tag(config=True)
    max_file_bytes = Int(
        4_000_000_000,
        min=1,
        help="Maximum bytes of one temporary Parquet file. The file of an archived recording is sent directly, whatever its size.",
    ).tag(config=True)
    max_query_s = Float(
        QUERY_S,
        min=0,
        help="Seconds after which a page, a search or a chart ends with what it has. Pages and searches then have a cursor to continue.",
    ).tag(config=True)
    max_pattern_s = Float(
        SECONDS, min=0.01, help="CPU seconds that a regular expression may take for the lines of one batch."
    ).tag(config=True)

    def bounded(self, query: LogQuery) -> LogQuery:
        """Return a query bounded by these limits."""
        bounds = Bounds(
            pattern_s=self.max_pattern_s,
            query_s=self.max_query_s,
            page_records=self.max_page_records,
            page_size=self.max_page_size,
        )
        return replace(query, bounds=bounds)
