from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from cortex_jupyter.archive.spans import find_spans
from cortex_jupyter.parsing.fields import message
from cortex_jupyter.parsing.level import ALIASES, level
from cortex_jupyter.tables.derive import derived

PIECES = [
    *ALIASES,
    *(a.upper() for a in ALIASES),
    *(a.capitalize() for a in ALIASES),
    "I0102 10:00:00.000001 1 x",
    "E",
    "Traceback (most recent call last):",
    'File "x.py", line 3',
    "ValueError: x",
    "a.b.KeyError",
    "Caused by: x",
    "goroutine 7 [running]",
    "at com.x.Y(Z.java:1)",
    "Exception in thread main",
    "level",
    "lvl",
    "severity",
    "30",
    "x",
    '{"level": "warn"}',
    '{"severity":40}',
    "{",
    "\x1b[31m",
    "é",
    "K",
    "\x1c",
    "\v",
    "loss",
    "2026-01-01T00:00:00Z",
]
GLUE = st.sampled_from(["", " ", "  ", ":", ": ", "=", '="', "'", "[", "]", "(", ")", "|", ".", "/", "-", "_", "\t"])
LINES = st.lists(st.tuples(GLUE, st.sampled_from(PIECES), GLUE), max_size=6).map(
    lambda parts: "".join(x for part in parts for x in part)
)


@settings(deadline=None)
@given(st.lists(LINES | st.text(max_size=120), max_size=30))
def test_a_column_has_the_levels_that_single_lines_have(lines: list[str]) -> None:
    column = pa.chunked_array([pa.array(lines, pa.large_string())])
    assert find_spans(column)["level"].to_pylist() == [level(line) for line in lines]


HEADERS = st.lists(
    st.sampled_from(
        [
            "2026-01-31 12:00:00,123 ",
            "17/06/09 20:10:40 ",
            "12:00:00 ",
            "081109 203615 148 ",
            "Jan 31 12:00:00 ",
            "[Sun Dec 04 04:47:44 2005] ",
            "W0131 10:00:00.000001 12 ",
            "[2026-01-31 12:00:00,123 I 12 34] ",
            "- 1117838570 2005.06.03 ",
            "2005-06-03-15.42.50.675872 ",
            "RAS KERNEL INFO ",
            "[rank0]: ",
            "(RayTrainWorker pid=12345, ip=10.0.0.12) ",
            "INFO ",
            "[INFO] ",
            "[notice] ",
            "info\t",
            "WARNING:root:",
            "[main] ",
            "[QuorumPeer[id=1]/0:0:",
            "Server@12] ",
            "org.example.resourcemanager.v2.app.rm.Allocator: ",
            "app::db: ",
            "app:run:3 - ",
            "1 --- ",
            "(raylet) main.cc:5: ",
            "{task.py:1} ",
            "req-38101a0b-2096-447d-96ea-a692162415ae ",
            "web-1 sshd[12]: ",
            "x/y.go:12] ",
            "- ",
            ": ",
            "[",
            "] ",
            "é",
            "words of a message ",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ]
    ),
    max_size=9,
).map("".join)


@settings(deadline=None)
@given(st.lists(HEADERS | st.text(max_size=120), max_size=30))
def test_a_column_has_the_messages_that_single_lines_have_however_long_their_headers(lines: list[str]) -> None:
    column = pa.chunked_array([pa.array(lines, pa.large_string())])
    assert derived(column)["message"].to_pylist() == [message(line) for line in lines]
