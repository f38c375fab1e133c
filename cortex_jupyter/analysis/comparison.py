"""Show a comparison of two logs: hyperparameters, patterns and durations as frames, and a picture of both logs."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from cortex_jupyter.analysis.pattern_table import pattern_html
from cortex_jupyter.analysis.result_frame import ResultFrame, cell, html_table

if TYPE_CHECKING:
    from cortex_jupyter.analysis.compare import ComparisonData, Difference

_SHOWN: Final = 12
_A, _B, _BAD = "#4c78a8", "#f58518", "#e45756"
_WIDTH, _HEIGHT, _LEFT, _RIGHT = 1000, 176, 12, 12
_MONO: Final = "font:12px/1.5 ui-monospace,Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere"


class Comparison(ResultFrame):
    """The differences between two logs, returned by `log.compare(other)`.

    As a frame it holds the patterns of both logs: `pattern`, `count_a`, `count_b`, `in`, `level`, `first_a`, `first_b`,
    `example_a`, `example_b`; patterns of only one log come first.

    Attributes
    ----------
    hyperparameters : ResultFrame
        The hyperparameters that differ: `name`, `a`, `b` (values as written), `line_a`, `line_b`, `seq_a`, `seq_b`. A
        hyperparameter is a named value (`lr=3e-4`, `"lr": 0.0003`, `lr: 3e-4`, `--lr 3e-4`) with one value in each log. It
        is written before the first step (the second value of `step`, `epoch` ...), or again and again without change.
        Names of measurements, times and ids (`val_loss`, `load_time`, `run_id`) are none.
    first : Difference or None
        The first difference between the logs: `a` and `b`, the line of each as a dict (None if the container run that
        is compared has no more lines in that log), and `before`, at most two equal lines before it in that run.
    durations : ResultFrame
        What takes longer or shorter: `kind`, `what`, `a`, `b` (seconds), `ratio`.
    only_a, only_b : ResultFrame
        The patterns of only one log.
    """

    nothing = "neither log has a line"

    def __init__(self, data: ComparisonData, names: tuple[str, str]) -> None:
        from cortex_jupyter.archive.optional import import_optional

        pc = import_optional("pyarrow.compute")
        super().__init__(data.patterns)
        self.names, self.first, self.durations = names, data.first, ResultFrame(data.durations)
        self.hyperparameters = ResultFrame(data.hyperparameters)
        self.only_a, self.only_b = (
            ResultFrame(data.patterns.filter(pc.equal(data.patterns["in"], run))) for run in "ab"
        )
        self._data = data

    def __repr__(self) -> str:
        a, b = self.names
        lines = [
            f"{a} (a) and {b} (b): {len(self)} patterns, {len(self.only_a)} only in a, {len(self.only_b)} only in b"
        ]
        if self.hyperparameters:
            settings = [f"  {r['name']}: {r['a']} -> {r['b']}" for r in self.hyperparameters]
            lines += ["hyperparameters that differ:", *settings[:_SHOWN]]
            lines += [f"  and {len(settings) - _SHOWN} more"] if len(settings) > _SHOWN else []
        if self.first is None:
            lines.append("the same lines in the same order, except for numbers and ids")
        else:
            lines.append("the first line that differs:")
            for sign, line in (("a", self.first.a), ("b", self.first.b)):
                lines.append(
                    f"  {sign} (ended)" if line is None else f"  {sign} {line['at']:.2f} s  {line['text'][:160]}"
                )
        lines += [
            f"  {r['kind']:6} {r['a']:.3g} s -> {r['b']:.3g} s  {r['what'][:120]}" for r in list(self.durations)[:5]
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        a, b = (escape(name) for name in self.names)
        parts = [
            f'<div style="margin:.3em 0"><b style="color:{_A}">a</b> {a} &nbsp; <b style="color:{_B}">b</b> {b}</div>',
            self._settings(),
            self._picture(),
            _first_difference(self.first),
        ]
        for title, patterns, column in (("Only in a", self.only_a, "a"), ("Only in b", self.only_b, "b")):
            if patterns:
                rows = patterns.to_arrow().slice(0, _SHOWN).to_pylist()
                cells = [
                    [
                        f"{r[f'count_{column}']:,}",
                        f"{r[f'first_{column}']:.2f} s",
                        pattern_html(r["pattern"], r["level"]),
                    ]
                    for r in rows
                ]
                parts += [
                    _title(title),
                    html_table(["lines", "first after", "pattern"], cells, len(patterns) - len(rows), wrap=True),
                ]
        if self.durations:
            rows = self.durations.to_arrow().slice(0, _SHOWN).to_pylist()
            cells = [
                [
                    _KINDS[r["kind"]],
                    pattern_html(r["what"]) if r["kind"] != "run" else "",
                    _seconds(r["a"]),
                    _seconds(r["b"]),
                    _times(r["ratio"]),
                ]
                for r in rows
            ]
            parts += [
                _title("Durations"),
                html_table(["", "", "a", "b", "b / a"], cells, len(self.durations) - len(rows), wrap=True),
            ]
        return f'<div class="cortex-compare">{"".join(parts)}</div>'

    def _settings(self) -> str:
        if not self.hyperparameters:
            return ""
        rows = self.hyperparameters.to_arrow().slice(0, _SHOWN).to_pylist()
        cells = [[escape(row[name]) for name in ("name", "a", "b")] for row in rows]
        table = html_table(["", "a", "b"], cells, len(self.hyperparameters) - len(rows), wrap=True)
        return _title("Hyperparameters that differ") + table

    def _picture(self) -> str:
        """Draw both logs on one time axis.

        Bars show the number of log lines. Curves connect the first lines of patterns that are rare and occur in both
        logs. Dots mark the first difference.
        """
        data, top = self._data, max(*self._data.seconds, 1e-9)

        def x(seconds: float) -> float:
            return _LEFT + (_WIDTH - _LEFT - _RIGHT) * seconds / top

        parts = []
        lanes = ((0, _A, 52, 40), (1, _B, _HEIGHT - 60, 40))
        for run, colour, base, room in lanes:
            counts = data.density[run]
            tallest, wide = max([*counts, 1]), (_WIDTH - _LEFT - _RIGHT) / max(1, len(counts))
            up = -1 if run == 0 else 1
            bars = "".join(
                f"M{_LEFT + i * wide:.1f} {base}v{up * max(1.5, n / tallest * room):.1f}h{wide - 1:.1f}V{base}z"
                for i, n in enumerate(counts)
                if n
            )
            parts.append(f'<path d="{bars}" fill="{colour}" fill-opacity=".75"/>')
            parts.append(f'<path d="M{_LEFT} {base}H{x(data.seconds[run]):.1f}" stroke="{colour}" stroke-width="2"/>')
        for text, time_a, time_b in data.moments:
            parts.append(
                f'<path d="M{x(time_a):.1f} 53C{x(time_a):.1f} 85 {x(time_b):.1f} 85 {x(time_b):.1f} {_HEIGHT - 61}" fill="none" stroke="currentColor" stroke-opacity=".3"><title>{escape(text)}: {time_a:.2f} s, {time_b:.2f} s</title></path>'
            )
        if self.first is not None:
            for line, base in ((self.first.a, 52), (self.first.b, _HEIGHT - 60)):
                if line is not None:
                    parts.append(
                        f'<circle cx="{x(line["at"]):.1f}" cy="{base}" r="5" fill="{_BAD}"><title>{escape(line["text"][:300])}</title></circle>'
                    )
        ticks = [top * i / 5 for i in range(6)]
        parts += [
            f'<text x="{x(t):.1f}" y="{_HEIGHT - 4}" text-anchor="{"start" if t == 0 else "end" if t == top else "middle"}" fill="currentColor" opacity=".62">{_seconds(t)}</text>'
            for t in ticks
        ]
        return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" style="width:100%;max-width:1200px;height:auto;font:11px system-ui,sans-serif">{"".join(parts)}</svg>'


_KINDS: Final = {"run": "the whole log", "phase": "phase", "every": "every"}


def _title(text: str) -> str:
    return f'<div style="margin:.8em 0 .2em;font-weight:600">{text}</div>'


def _first_difference(first: Difference | None) -> str:
    if first is None:
        return _title("The same lines in the same order, except for numbers and ids")
    rows = [f'<div style="opacity:.6">&nbsp; {escape(text)}</div>' for text in first.before]
    for sign, colour, line in (("a", _A, first.a), ("b", _B, first.b)):
        text = "<i>has ended</i>" if line is None else escape(line["text"])
        rows.append(f'<div><b style="color:{colour}">{sign}</b> {text}</div>')
    where = first.a or first.b or {}
    note = f"{escape(cell(where.get('pod')))}/{escape(cell(where.get('container')))}, {_seconds(where['at'])} after the first line"
    return f'{_title("The first line that differs")}<div style="opacity:.65">{note}</div><div style="{_MONO}">{"".join(rows)}</div>'


def _seconds(value: float) -> str:
    """Write a duration.

    Examples
    --------
    >>> [_seconds(v) for v in (0.0, 0.0123, 3.25, 125.0, 7300.0)]
    ['0 s', '12 ms', '3.2 s', '2 min 5 s', '2 h 1 min']
    """
    if value == 0 or value >= 3600:
        return "0 s" if value == 0 else f"{value // 3600:.0f} h {value % 3600 // 60:.0f} min"
    if value >= 60:
        return f"{value // 60:.0f} min {value % 60:.0f} s"
    return f"{value:.2g} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f'<b style="color:{_BAD}">{ratio:.2f}x</b>' if ratio > 1 else f"{ratio:.2f}x"
