from __future__ import annotations

import re
import sys

import pytest
from support.rows import Row, table

from cortex_jupyter.analysis.compare import compare
from cortex_jupyter.analysis.comparison import Comparison
from cortex_jupyter.analysis.pattern_table import Patterns
from cortex_jupyter.analysis.patterns import BINS, patterns
from cortex_jupyter.parsing.line_patterns import find_line_patterns


def run(pods: str = "ab", slow: float = 1.0, steps: int = 30, bad: int | None = None) -> list[Row]:
    """Return a run of two pods; `bad` is the step at which the second one fails."""
    rows: list[Row] = []
    for index, suffix in enumerate(pods):
        at, pod = index * 0.01, f"train-{index}-{suffix * 5}"
        rows.append((at, pod, f"mounting s3://demo/7f3a{index}{pods} (read only)"))
        at += 2 * slow
        rows.append((at, pod, f"INFO data ready, {200 + index} MiB"))
        for step in range(steps):
            at += 0.1 * slow
            if step == bad and index == 1:
                rows += [(at, pod, "WARNING gradient exploded"), (at, pod, "RuntimeError: device-side assert")]
                break
            rows.append((at, pod, f"INFO step {step} loss={1 / (step + 1):.3f}"))
        else:
            rows.append((at + 1, pod, "INFO finished"))
    return sorted(rows, key=lambda row: row[0])


def test_equal_lines_are_one_pattern_with_counts_over_time() -> None:
    found = patterns(table(run(bad=20))).to_pylist()
    assert [(r["pattern"], r["count"], r["level"], r["pods"]) for r in found[:3]] == [
        ("step <*> loss=<*>", 50, "info", 2),
        ("mounting s3://demo/<*> (read only)", 2, None, 2),
        ("data ready, <*> MiB", 2, "info", 2),
    ]
    assert all(len(r["counts"]) == BINS and sum(r["counts"]) == r["count"] for r in found)
    assert sum(r["count"] for r in found) == 57 and sum(r["share"] for r in found) == pytest.approx(1)
    step = found[0]
    assert step["example"] == "INFO step 0 loss=1.000" and step["first"].timestamp() == pytest.approx(2.1)
    assert {r["level"] for r in found} == {"info", "warning", "error", None}


def test_a_clock_that_is_wrong_by_centuries_is_counted_too() -> None:
    [found] = patterns(table([(0, "p", "step 1"), (9e9, "p", "step 2")])).to_pylist()
    assert found["counts"] == [1, *[0] * (BINS - 2), 1]


def test_words_without_digits_can_vary_and_prose_is_not_merged() -> None:
    rows = [
        (i, "p", f"user {name} logged in from {place}")
        for i, (name, place) in enumerate([("alice", "home"), ("bob", "work"), ("carol", "train")])
    ]
    rows += [(5, "p", "the disk is full"), (6, "p", "all workers have joined the ring")]
    assert [r["pattern"] for r in patterns(table(rows)).to_pylist()] == [
        "user <*> logged in from <*>",
        "the disk is full",
        "all workers have joined the ring",
    ]


def test_all_states_of_a_progress_bar_are_one_pattern() -> None:
    rows: list[Row] = [
        (float(i), "p", f"train: {i * 10}%|{'#' * i}{' ' * (10 - i)}| {i}/10 [00:0{i}<00:09,  1.00it/s]")
        for i in range(10)
    ]
    rows += [(20.0 + i, "p", f"{i}/9 {'━' * (i + 5)} 2s 20ms/step") for i in range(9)]
    assert [r["count"] for r in patterns(table(rows)).to_pylist()] == [10, 9]


def test_a_patterns_expression_finds_its_lines() -> None:
    rows = run(bad=20)
    found = Patterns(patterns(table(rows)))
    for place, row in enumerate(found):
        pattern = re.compile(found.grep(place))
        assert sum(bool(pattern.search(text)) for _, _, text in rows) == row["count"]


@pytest.mark.parametrize(
    "rows", [[], [(0.0, "p", "")], [(0.0, "p", "\r\r"), (0.0, "p", "\x00\x01 \x1b[31m")], [(0.0, "p", "x " * 9000)]]
)
def test_odd_logs_give_a_frame(rows: list[Row]) -> None:
    found = patterns(table(rows))
    assert found.num_rows == len({text for *_, text in rows}) and found.schema.names[0] == "pattern"
    Patterns(found)._repr_html_()
    Comparison(compare(table(rows), table(run())), ("x", "y"))._repr_html_()
    assert repr(Comparison(compare(table(rows), table(rows)), ("x", "y"))).endswith("except for numbers and ids")


def test_runs_with_equal_lines_do_not_differ() -> None:
    found = Comparison(compare(table(run("ab")), table(run("xy"))), ("one", "two"))
    assert found.first is None and not found.only_a and not found.only_b
    assert [r["kind"] for r in found.durations] == ["run"]
    assert "The same lines" in found._repr_html_()


def test_the_first_difference_and_the_patterns_of_one_run() -> None:
    found = Comparison(compare(table(run("ab")), table(run("xy", bad=20))), ("one", "two"))
    assert found.first is not None and found.first.a is not None and found.first.b is not None
    assert found.first.a["text"].startswith("INFO step 20") and found.first.b["text"] == "WARNING gradient exploded"
    assert found.first.b["pod"] == "train-1-yyyyy" and found.first.before[-1].startswith("INFO step 19")
    assert [(r["pattern"], r["count_a"], r["count_b"]) for r in found.only_b] == [
        ("gradient exploded", 0, 1),
        ("RuntimeError: device-side assert", 0, 1),
    ]
    assert not found.only_a and found.to_pandas()["in"].tolist()[:3] == ["b", "b", "both"]
    html = found._repr_html_()
    assert "WARNING gradient exploded" in html and "<script" not in html


def test_durations_that_differ() -> None:
    found = Comparison(compare(table(run("ab")), table(run("xy", slow=2))), ("one", "two"))
    assert found.first is None
    kinds = {(r["kind"], r["what"]): (round(r["a"], 2), round(r["b"], 2)) for r in found.durations}
    assert kinds["every", "step <*> loss=<*>"] == (0.1, 0.2)
    assert kinds["phase", "mounting s3://demo/<*> (read only) → data ready, <*> MiB"] == (2.0, 4.0)
    assert kinds["run", "the whole log"] == (6.01, 11.01)


def test_a_late_pod_does_not_count_as_diverging_late() -> None:
    """The other pod is killed four lines after this one fails, which by the run's clock is much earlier."""

    def late(rows: list[Row]) -> list[Row]:
        return [(at + 5 * ("-1-" in pod), pod, text) for at, pod, text in rows]

    killed = [row for row in run("xy", bad=20) if not ("-0-" in row[1] and row[0] > 2 + 24.5 * 0.1)]
    found = Comparison(compare(table(late(run("ab"))), table(late(killed))), ("one", "two"))
    assert found.first is not None and found.first.b is not None
    assert found.first.b["text"] == "WARNING gradient exploded"


def test_a_run_that_ends_early_diverges_at_its_end() -> None:
    found = Comparison(compare(table(run()), table(run(steps=10)[:-2])), ("one", "two"))
    assert found.first is not None and found.first.b is None and "has ended" in found._repr_html_()


def found_patterns(lines: list[str]) -> dict[str, int]:
    """Return the patterns of the lines of one pod, with their numbers of lines."""
    rows: list[Row] = [(float(at), "p", line) for at, line in enumerate(lines)]
    return {row["pattern"]: row["count"] for row in patterns(table(rows)).to_pylist()}


#: What loggers write before a message.
HEADERS = {
    "syslog": "Jul  {at} 09:00:{at} host-{at} {name}[{at}]: ",
    "logcat": "03-17 16:13:{at}.811  17{at}  23{at} {letter} {name}: ",
    "threads": "2026-01-31 12:00:{at},045 {level} [main thread-{at}] org.example.{name}: ",
    "bars": "2026-01-31 12:00:{at}.123 | {level:8} | app.{name}:run:{at} - ",
    "short date": "26/01/31 20:10:{at} {level} storage.{name}: ",
    "numbers first": "- 11315664{at} 2026.01.31 dn{at} Jan 31 12:01:{at} dn{at}/dn{at} {name}(pam_unix)[29{at}]: ",
    "web server": "[Sun Jan 31 20:32:{at} 2026] [{lower}] ",
    "Spring": "2026-01-31T12:00:{at}.123Z  {level} 1 --- [exec-{at}] c.e.{name} : ",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_headers_are_learned_from_the_lines(header: str) -> None:
    messages = [f"block blk_{at} was stored" for at in range(20)]
    messages += [
        f"Failed password for {name} from 10.0.0.{at}" for at, name in enumerate(["root", "ann", "bob", "eve"])
    ]
    messages += ["restarting all workers"] * 6
    lines = [
        header.format(
            at=10 + at,
            name=("Writer", "Reader", "Gate")[at % 3],
            level=("INFO", "WARN")[at % 2],
            lower=("notice", "error")[at % 2],
            letter="IW"[at % 2],
        )
        + message
        for at, message in enumerate(messages)
    ]
    expected = {"block blk_<*> was stored": 20, "restarting all workers": 6, "Failed password for <*> from <*>": 4}
    assert found_patterns(lines) == expected
    assert found_patterns([*lines, *messages]) == {text: 2 * count for text, count in expected.items()}


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("2026-01-31 12:00:00 INFO loss: 0.{at} acc: 0.{at}", "loss: <*> acc: <*>"),
        ("12:00:{at}  loss   0.{at}   acc   0.{at}", "loss <*> acc <*>"),
        ("checkpoint saved at 12:00:{at}", "checkpoint saved at <*>"),
        ("[12:00:{at}] [{at}] accuracy=0.{at}", "accuracy=<*>"),
        ("Error {at} in shard {at}", "Error <*> in shard <*>"),
        ("epoch {at}/99 - loss 0.{at}", "epoch <*> - loss <*>"),
    ],
)
def test_what_a_line_says_is_no_header(line: str, pattern: str) -> None:
    (only,) = found_patterns([line.format(at=10 + at) for at in range(60)])
    assert only.endswith(pattern)


def test_few_words_in_many_lines_are_different_messages_and_many_words_are_values() -> None:
    lines = [f"link eth{at % 4} {state}" for at in range(20) for state in ("up", "down")]
    lines += [f"mode changed from {a} to {b}" for a, b in (("AUTO", "OFF"), ("OFF", "AUTO"))] * 9
    lines += [f"Read {chr(97 + at)}{chr(98 + at)}.txt: ok" for at in range(20)]
    lines += [f"session opened for user {name}" for name in ("ann", "bob", "eve")] * 9
    assert found_patterns(lines) == {
        "link eth<*> up": 20,
        "link eth<*> down": 20,
        "mode changed from AUTO to OFF": 9,
        "mode changed from OFF to AUTO": 9,
        "Read <*>: ok": 20,
        "session opened for user <*>": 27,
    }


def test_lists_dates_quantities_and_empty_values_are_one_value() -> None:
    lines = [f"replicas: {' '.join(map(str, range(size)))} ready" for size in (3, 5, 9)] * 3
    lines += [
        f"connection from 10.0.0.{at} {host} at {day} Jul  {at} 12:16:49 2026"
        for at, (host, day) in enumerate([("()", "Sat"), ("(a.example.org)", "Sun"), ("()", "Mon")] * 3)
    ]
    lines += [
        f"sent {at} bytes{more}, free {at}.5 {unit}"
        for at, (more, unit) in enumerate([("", "KB"), (" (1.2 KB)", "MB"), ("", "KB")] * 3)
    ]
    assert list(found_patterns(lines).values()) == [9, 9, 9]


def traceback_lines(value: int) -> list[str]:
    return [
        "Traceback (most recent call last):",
        '  File "/app/train.py", line 12, in <module>',
        "    main()",
        f"ValueError: bad shape {value}",
    ]


def test_a_traceback_is_one_pattern_named_after_its_exception() -> None:
    java = [
        "java.io.IOException: no space",
        "\tat org.example.Disk.write(Disk.java:7)",
        "\tat org.example.Main.main(Main.java:1)",
    ]
    rows: list[Row] = []
    for at in range(3):
        rows += [
            (10.0 * at, pod, line)
            for pair in zip(traceback_lines(at), traceback_lines(at + 5), strict=True)
            for pod, line in zip("ab", pair, strict=True)
        ]
        rows += [(10.0 * at + 1, "c", line) for line in [f"step {at}", *java, f"step {at}"]]
    found = patterns(table(rows)).to_pylist()
    assert {row["pattern"]: row["count"] for row in found} == {
        "ValueError: bad shape <*>": 24,
        "java.io.IOException: no space": 9,
        "step <*>": 6,
    }
    assert found[0]["example"].startswith("Traceback") and found[0]["pods"] == 2
    assert [(row["times"], row["level"]) for row in found] == [(6, "error"), (3, "error"), (6, None)]


def test_a_table_is_one_pattern_named_after_its_first_row() -> None:
    lines = []
    for at in range(4):
        lines += [
            "-" * 30,
            "| rollout/       |      |",
            f"|    ep_len_mean | {at}.5 |",
            f"|    fps         | {at}  |",
            "-" * 30,
        ]
        lines += [f"saved {at}"]
    assert found_patterns(lines) == {"| rollout/ | |": 20, "saved <*>": 4}


def test_a_bar_is_one_pattern_from_its_unknown_rate_to_its_last_metrics() -> None:
    lines = ["Epoch 1:   0%|          | 0/300 [00:00<?, ?it/s]"]
    lines += [
        f"Epoch 1:  {at}0%|{'█' * at}{' ' * (10 - at)}| {at}/300 [00:0{at}<01:00,  3.1it/s, loss=0.{at}]"
        for at in range(9)
    ]
    lines += [f"{at}/9 {'━' * (at + 5)} 2s 20ms/step - loss: 0.{at}" for at in range(1, 9)]
    lines += [f"9/9 {'━' * 20} 2s 20ms/step - loss: 0.1 - val_loss: 0.2"]
    assert list(found_patterns(lines).values()) == [10, 9]


def test_the_pattern_of_a_line_does_not_depend_on_the_order_of_lines_that_are_equal_often() -> None:
    lines = [f"{who} joined ring {at}" for at in range(4) for who in ("ann", "bob", "eve", "web-1", "db.x")]
    lines += [f"job {state} after {at} s" for at in range(4) for state in ("started", "stopped")]
    forwards, backwards = found_patterns(lines), found_patterns(lines[::-1])
    assert forwards == backwards


def test_the_work_grows_with_the_number_of_different_lines_not_its_square() -> None:
    words = [f"w{chr(97 + at // 26)}{chr(97 + at % 26)}" for at in range(500)]
    counts = []
    for size in (1000, 4000):
        shapes = [
            " ".join(words[(at * step) % 500] for step in (1, 7, 31, 101, 211)) + f" {words[at // 500]}"
            for at in range(size)
        ]
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            find_line_patterns(shapes, [1] * size)
        finally:
            sys.setprofile(None)
        counts.append(calls)
    assert counts[1] < 6 * counts[0]
