"""The part of `TaskLog` that analyses lines: metrics, errors, progress, patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cortex_jupyter.archive.optional import import_optional
from cortex_jupyter.notebook.data import Data

if TYPE_CHECKING:
    import pyarrow as pa

    from cortex_jupyter.analysis.comparison import Comparison
    from cortex_jupyter.analysis.error_list import Errors
    from cortex_jupyter.analysis.pattern_table import Patterns
    from cortex_jupyter.analysis.progress_table import ProgressFrame
    from cortex_jupyter.analysis.why import Why
    from cortex_jupyter.notebook.masked import Masked
    from cortex_jupyter.notebook.metrics import Metrics


class Analysis(Data):
    """The part of `TaskLog` that finds metrics, errors, patterns and progress."""

    def mask(self) -> Masked:
        """Return the log with tokens, keys, passwords and e-mail addresses masked, as data and for export.

        The rules are those of detect-secrets. The recording does not change. The completeness statement counts what
        was masked.

        Raises
        ------
        MissingExtra
            detect-secrets is not installed.

        Examples
        --------
        >>> import cortex_jupyter as cortex, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "login.log").write_text("login ann@example.org")
        >>> log = cortex.open(folder / "login.log")
        >>> log.mask().to_pandas().text.tolist()
        ['login [masked]']
        >>> log.mask().to_parquet(folder / "login.parquet")
        """
        from cortex_jupyter.notebook.masked import Masked

        return Masked(self)

    def metrics(self, *names: str, pattern: str | None = None, path: str | None = None) -> Metrics:
        r"""Return the metrics that lines report: a frame with a row per value, and a chart with `.plot()`.

        Known forms are `loss=0.31 step=400`, `loss: 0.31`, JSON, Python dicts, and the output of tqdm, Lightning,
        Transformers, Keras, XGBoost, LightGBM, fairseq and the PyTorch examples.

        Parameters
        ----------
        *names : str
            Only these metrics; globs are allowed (`val_*`).
        pattern : str, optional
            A regular expression to use instead of the known forms. Each named group is a metric; `step` is the step.
        path : str, optional
            Only fields of JSON lines at or below this path: `train.loss`.

        Returns
        -------
        Metrics
            Columns `time`, `step`, `name`, `value`, `task`, `pod`, `rank`, `seq`.

        Raises
        ------
        BadQuery
            `pattern` is no regular expression, or has no named group.
        MissingExtra
            pyarrow is not installed.

        Examples
        --------
        >>> import cortex_jupyter as cortex, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "train.log").write_text("step=1 loss=0.5\nstep=2 loss=0.25\ntook 3 s at 2\n")
        >>> log = cortex.open(folder / "train.log")
        >>> log.metrics("loss", "val_*").to_pandas()[["step", "name", "value"]].values.tolist()
        [[1.0, 'loss', 0.5], [2.0, 'loss', 0.25]]
        >>> log.metrics(pattern=r"took (?P<took>\d+) s at (?P<step>\d+)").to_pandas().value.tolist()
        [3.0]
        >>> log.metrics("loss").plot()
        a chart of loss
        """
        from cortex_jupyter.notebook.metrics import Metrics  # needs pyarrow, which is optional

        source = _MetricSource(self, names, pattern, path)
        return Metrics(source.table(), [source])

    def errors(self) -> Errors:
        """Return tracebacks, and lines that report an error. The same error in several pods counts as one.

        Tracebacks of Python, Java, JavaScript, Go, of C++ in PyTorch, of CUDA and of NCCL are known.

        Returns
        -------
        Errors
            A sequence of `Error` (`type`, `message`, `frames`, `count`, `pods`, `first`, `last`, `context`, `text`,
            `seq`) in the order of their first occurrence. It is a frame too.

        Raises
        ------
        MissingExtra
            pyarrow or numpy is not installed.
        """
        from cortex_jupyter.analysis.error_list import Errors
        from cortex_jupyter.analysis.errors import errors

        return Errors(errors(self.to_arrow()))

    def why(self) -> Why:
        """Return what ended the task: exit code, reason, Kubernetes' events, the last error and the last lines.

        Returns
        -------
        Why
            Its `summary` is one sentence. Also `exit_code`, `reason`, `culprit` (the container that failed first),
            `error`, `errors`, `events`, and `containers` with their last lines.

        Raises
        ------
        MissingExtra
            pyarrow or numpy is not installed.
        """
        from cortex_jupyter.analysis.diagnosis import diagnose
        from cortex_jupyter.analysis.why import Why

        table = self.to_arrow()
        diagnosis = diagnose(self._recording.store, self._recording.id, table)
        return Why(self._recording.ref.key, self.status, diagnosis)

    def progress(self) -> ProgressFrame:
        """Return the progress of each container: bars (tqdm, rich, Keras, ...) and counts such as `epoch 3/10`.

        Returns
        -------
        ProgressFrame
            A row per bar: `pod`, `container`, `label`, `step`, `total`, `fraction`, `rate` (per second), `unit`,
            `elapsed`, `remaining` (seconds), `time`, `seq`.

        Raises
        ------
        MissingExtra
            pyarrow or numpy is not installed.
        """
        from cortex_jupyter.analysis.progress import progress_bars
        from cortex_jupyter.analysis.progress_table import ProgressFrame

        return ProgressFrame(progress_bars(self.to_arrow()))

    def patterns(self) -> Patterns:
        r"""Group lines that are equal except for their values, such as `epoch <*> loss=<*>`, with counts over time.

        Returns
        -------
        Patterns
            Columns `pattern`, `count`, `share`, `level`, `first`, `last`, `pods`, `counts` (over time), `seq` and
            `example` (of the first line). The most frequent pattern comes first.

        Raises
        ------
        MissingExtra
            pyarrow or numpy is not installed.

        Examples
        --------
        >>> import cortex_jupyter as cortex, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "train.log").write_text("step=1 loss=0.5\nsaved\nstep=2 loss=0.25\n")
        >>> log = cortex.open(folder / "train.log")
        >>> patterns = log.patterns()
        >>> patterns.to_pandas()[["pattern", "count"]].values.tolist()
        [['step=<*> loss=<*>', 2], ['saved', 1]]
        >>> [record.text for record in log.filter(grep=patterns.grep(1))]
        ['saved']
        """
        from cortex_jupyter.analysis.pattern_table import Patterns
        from cortex_jupyter.analysis.templates import patterns

        return Patterns(patterns(self.to_arrow()))

    def compare(self, other: Analysis) -> Comparison:
        r"""Compare with another run: the first line that differs, lines of one run only, and what takes longer.

        Differences in numbers, IDs and times do not count. This log is `a`, the other one `b`. Pods are paired in the
        order of their names.

        Parameters
        ----------
        other : TaskLog

        Returns
        -------
        Comparison
            A frame of patterns with the counts of both runs; `first`, `durations`, `only_a`, `only_b`.

        Examples
        --------
        >>> import cortex_jupyter as cortex, pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "good.log").write_text("read shard 7\nstep=1 loss=0.5\n")
        >>> _ = (folder / "bad.log").write_text("read shard 9\nshard 9 is broken\nstep=1 loss=2.5\n")
        >>> comparison = cortex.open(folder / "good.log").compare(cortex.open(folder / "bad.log"))
        >>> comparison.first.a["text"], comparison.first.b["text"]
        ('step=1 loss=0.5', 'shard 9 is broken')
        >>> comparison.only_b.to_pandas().pattern.tolist()
        ['shard <*> is broken']
        """
        from cortex_jupyter.analysis.compare import compare
        from cortex_jupyter.analysis.comparison import Comparison

        names = (self._recording.ref.key, other._recording.ref.key)
        return Comparison(compare(self.to_arrow(), other.to_arrow()), names)


class _MetricSource:
    """Reads the metrics of a log again when the log has grown; implements `notebook.metrics.Source`."""

    def __init__(self, log: Analysis, names: tuple[str, ...], pattern: str | None, path: str | None) -> None:
        from cortex_jupyter.analysis.incremental import IncrementalMetrics

        self._log = log
        self._growing = IncrementalMetrics(self._read, log._parsed, names, pattern, path)  # noqa: SLF001 - a part of the log

    def _read(self, start: int) -> tuple[pa.Table, int]:
        from cortex_jupyter.analysis.incremental import COLUMNS

        last, _ = self.mark()
        records = self._log._table(COLUMNS, start=start)  # noqa: SLF001 - a part of TaskLog
        return records, max(last, import_optional("pyarrow.compute").max(records["seq"]).as_py() or 0)

    def table(self) -> pa.Table:
        return self._growing.update()

    def mark(self) -> tuple[int, bool]:
        return self._log._mark()  # noqa: SLF001 - a part of TaskLog
