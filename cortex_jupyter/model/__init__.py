"""The data model as types, and the codec of a batch. This room imports no other room.

A *recording* is one sequence of numbers (`seq`) without holes. Each number is either a record (a log line) or a notice
(a state, a start, an end, a gap). An `Entry` is the unit of storage and transport: one notice, or one *batch* of records
as columns. Its `data` is the JSON of one SSE event. The recorder encodes it once; all others forward those bytes.
"""

from cortex_jupyter.model.batch import (
    MEMBERSHIP,
    STREAMS,
    Batch,
    Entry,
    IndexEntry,
    PublicSource,
    Source,
    encode_batch,
    notice,
)
from cortex_jupyter.model.cursor import (
    AFTER_ALL,
    EVERY_SEQ,
    MAX_EPOCHS,
    UNBOUNDED,
    Cursor,
    Epochs,
    Place,
    check_epoch,
    epoch_at,
)
from cortex_jupyter.model.task import KINDS, TaskRef, check_namespace
from cortex_jupyter.model.times import parse_rfc3339, rfc3339

__all__ = [
    "AFTER_ALL",
    "EVERY_SEQ",
    "KINDS",
    "MAX_EPOCHS",
    "MEMBERSHIP",
    "STREAMS",
    "UNBOUNDED",
    "Batch",
    "Cursor",
    "Entry",
    "Epochs",
    "IndexEntry",
    "Place",
    "PublicSource",
    "Source",
    "TaskRef",
    "check_epoch",
    "check_namespace",
    "encode_batch",
    "epoch_at",
    "notice",
    "parse_rfc3339",
    "rfc3339",
]
