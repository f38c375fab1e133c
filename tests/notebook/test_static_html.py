from __future__ import annotations

from html.parser import HTMLParser

from cortex_jupyter.notebook.record import Record, Status
from cortex_jupyter.notebook.static_html import LINES, static_html

RUNNING = Status("running", "Running", None, done=False)


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(html: str) -> Seen:
    parser = Seen()
    parser.feed(html)
    return parser


def record(text: str, pod: str = "p", n: int = 1) -> Record:
    return Record(n, n, pod, "main", "main", 0, "n", "stdout", text)


def test_hostile_lines_stay_text() -> None:
    lines = [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '"><svg onload=1>',
        "&lt;b&gt;",
        "</div></pre>",
    ]
    found = seen(static_html("<b>:job/x", RUNNING, {"grep": "<i>"}, [record(x) for x in lines]))
    assert found.tags <= {"div", "b", "span"} and found.attributes <= {"style", "class"}
    assert all(line in found.text for line in lines) and "<b>:job/x" in found.text and "grep=<i>" in found.text


def test_control_characters_are_replaced_or_removed() -> None:
    found = seen(static_html("t", RUNNING, {}, [record("\x1b[31mred\x1b[0m \x1b]0;title\x07\u202egnp.exe\x00")]))
    assert "red \ufffdgnp.exe\ufffd" in found.text and "\x1b" not in found.text and "title" not in found.text
    assert " 20%" in seen(static_html("t", RUNNING, {}, [record("10%\r 20%\r")])).text


def test_colours_and_the_completeness_statement_are_shown() -> None:
    line = "\x1b[1;31mfailed\x1b[0m \x1b[38;2;255;255;0m<y>\x1b[39m \x1b[37mwhite \x1b[48;5;196;3mbold"
    html = static_html("t", RUNNING, {}, [record(line)], "1 203 lines, 2 sources, complete")
    assert '<span style="font-weight:600;color:#d04545">failed</span>' in html
    assert "&lt;y&gt;</span> white " in html and '<span style="font-style:italic">bold</span>' in html
    assert seen(html).text.count("1 203 lines, 2 sources, complete") == 1


def trace(pod: str, step: int) -> list[Record]:
    texts = ["Traceback (most recent call last):", '  File "train.py", line 41, in <step>', "    loss.backward()"]
    return [record(text, pod, n) for n, text in enumerate([*texts, f"RuntimeError: <nan> at step {step}"])]


def test_a_progress_bar_is_one_row_with_its_last_state() -> None:
    bars = [record(f"train: {i:3d}%|{'█' * (i // 10):10}| {i}/100 [00:01<00:01, 9.0it/s]", n=i) for i in range(101)]
    noise = [record(f"a line {i}", "q", i) for i in range(3)]
    html = static_html("t", RUNNING, {}, [*bars[:40], *noise, *bars[40:], record("after")])
    assert html.count("it/s]") == 1 and "100/100" in html and "101 states" in html
    assert html.index("100/100") < html.index("a line 0") < html.index("after"), (
        "the progress bar is not at the position of its first state"
    )
    assert "The last 105 lines" in html
    assert static_html("t", RUNNING, {}, [*bars, *bars]).count("it/s]") == 2, (
        "a bar that starts again is not a second bar"
    )
    assert static_html("t", RUNNING, {}, [*bars, record("epoch 1"), *bars[50:]]).count("it/s]") == 2


def test_a_traceback_is_folded_and_shown_once_for_all_its_pods() -> None:
    mixed = [line for pair in zip(trace("p", 3), trace("q", 4), strict=True) for line in pair]
    html = static_html("t", RUNNING, {}, [record("before"), *mixed, *trace("r", 5), record("after", "q")])
    found = seen(html)
    assert found.tags <= {"div", "b", "span", "details", "summary"} and found.attributes <= {"style", "class", "open"}
    assert html.count("<details") == 1 and "<b>RuntimeError: &lt;nan&gt; at step 3</b>" in html
    assert "1 frame · also in q, r" in found.text and found.text.count("loss.backward()") == 1
    assert "The last 14 lines" in found.text
    other = [record("Traceback (most recent call last):"), record('  File "b.py", line 2, in f'), record("KeyError: 1")]
    html = static_html("t", RUNNING, {}, [*trace("p", 3), record("between"), *other])
    assert html.count("<details style") == 1 and html.count("<details open") == 1, (
        "not exactly the last traceback is open"
    )
    deep = [other[0], *[record(f'  File "b.py", line {i}, in f') for i in range(5000)], other[2]]
    html = static_html("t", RUNNING, {}, [record("far away"), *deep])
    assert "4802 more lines" in html and "far away" not in html and len(html) < 60_000


def test_the_html_is_short() -> None:
    records = [record(f"line {i} {'x' * 2000}", n=i) for i in range(1000)]
    html = static_html("t", RUNNING, {}, records)
    assert "line 999" in html and "line 799" not in html and html.count("more characters") == LINES
    assert len(html) < 160_000


def test_state_and_hint() -> None:
    text = seen(static_html("ml:job/a", Status("failed", "Job failed exit 3", 3, done=True), {}, [])).text
    assert (
        "ml:job/a · Job failed exit 3" in text and "no lines yet" in text and "run it again for the live view" in text
    )


def test_pods_are_named_only_if_there_are_several() -> None:
    assert "p/main" not in static_html("t", RUNNING, {}, [record("a"), record("b")])
    assert "q/main" in static_html("t", RUNNING, {}, [record("a"), record("b", pod="q")])
