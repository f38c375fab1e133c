"""The words of the design as types, and the codec of a batch; knows nothing else.

A *recording* is one gapless sequence of numbers (`seq`). Each number is either a record (a log line) or a notice
(a state, a start, an end, a gap). `Entry` is what a store keeps and what travels: one notice, or one *batch* of
records as columns. Its `data` is the JSON of one SSE event, encoded once by the recorder and forwarded as those bytes.
"""

from cortex_jupyter.model.batch import STREAMS, Batch, Entry, Source, encode_batch, notice
from cortex_jupyter.model.cursor import EVERY_SEQ, MOST_EPOCHS, Cursor, Epochs, check_epoch, epoch_at
from cortex_jupyter.model.task import KINDS, TaskRef, checked_namespace
from cortex_jupyter.model.times import parse_rfc3339, rfc3339

__all__ = [
    "EVERY_SEQ",
    "KINDS",
    "MOST_EPOCHS",
    "STREAMS",
    "Batch",
    "Cursor",
    "Entry",
    "Epochs",
    "Source",
    "TaskRef",
    "check_epoch",
    "checked_namespace",
    "encode_batch",
    "epoch_at",
    "notice",
    "parse_rfc3339",
    "rfc3339",
]
