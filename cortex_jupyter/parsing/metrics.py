r"""The numbers that a line reports: `loss=0.31 step=400`, JSON, dicts, progress bars and tables of the common libraries.

We parse the *shape* of a line: the line with `MARK` in place of each number or id. So a rule runs once per shape, not once per
line.

Supported forms: `name=1`, `name: 1`, logfmt; JSON objects and Python dicts (Hugging Face Transformers), nested ones with dotted
names; the postfix of tqdm and Lightning (`loss=0.3, v_num=0`); Keras (`- loss: 0.3 - acc: 0.9`); XGBoost and LightGBM
(`[12]\ttrain-rmse:0.3`); fairseq and Megatron (`| loss 8.1 | lm loss: 9.8E+00 |`); the PyTorch examples
(`Epoch: [0][10/500]\tLoss 6.9 (7.0)`, `Train Epoch: 1 [640/60000 (1%)]\tLoss: 0.3`); scikit-learn (`loss = 0.3`).
"""

from __future__ import annotations

import ast
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Final

#: The placeholder for a number or an id in a shape.
MARK: Final = "\0"


@dataclass(slots=True)
class Reading:
    """The metrics that lines of one shape report.

    Parameters
    ----------
    values : dict
        Name to the index of its number among the line's marks; a float if the shape itself says NaN or infinity.
    step, epoch, bar, rank, tag : int or None
        Indices of the step, the epoch, the `10` in a bar's `10/100`, the rank, and a number in brackets that may be a rank.
    """

    values: dict[str, int | float] = field(default_factory=dict)
    step: int | None = None
    epoch: int | None = None
    bar: int | None = None
    rank: int | None = None
    tag: int | None = None


_VALUE: Final = r"(?P<value>\0|[-+]?(?i:nan|inf(?:inity)?)\b)(?!%\|)%?(?![\w\0]|[-:/.,]\0|-\w)"
_PAIR: Final = re.compile(rf"(?P<sep>\s*=\s*|\s*:\s+|:)[\[(]?{_VALUE}")
_LAST: Final = re.compile(r"(?<![\w.?&])([A-Za-z_][\w.@/%+'-]*(?:\[\w+\])?)['\"]?\Z")
_CUT: Final = re.compile(r"[|,;\t\[\]:(){}\"=]|\s-\s|\s{2,}|\0")
_WORDS: Final = re.compile(r"[A-Za-z_][\w.@/%+'-]*(?: [A-Za-z_(][\w.@/%+')-]*){0,3}\Z")
_PIPED: Final = re.compile(rf"\s*([A-Za-z_][\w.@/ ()-]*?)\s*[:=]?\s+{_VALUE}\s*\Z")
_AVERAGED: Final = re.compile(rf"\s*([A-Za-z_][\w.@/-]*)\s+{_VALUE}\s*\(\s*\0\)")
_LEVELS: Final = re.compile(r"(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\s+")
#: Words for the step before its number; the first group that a line contains counts.
_STEPS: Final = tuple(
    re.compile(rf"(?i)(?<![\w./])(?:{words})[\"']?\s*[:=#]?\s*[\[(]?\s*\0(?![\w\0]|[-:.]\0)")
    for words in (r"(?:\w+[_/])?global[_ ]step", "steps?", "iterations?|iter|updates?|num_updates", "rounds?|batch|it")
)
_EPOCH: Final = re.compile(r"(?i)(?<![\w./])epochs?[\"']?\s*[:=#]?\s*[\[(]?\s*\0(?![\w\0%]|[-:.]\0)")
_BAR: Final = re.compile(r"(?:^|[|\s\[])\s*\0/\0(?:\s+\[|\s+[━=>-]|\s*\(|\]|\s+-\s)")
_ROUND: Final = re.compile(r"\A\s*(?:\0-\0-\0\S* \0:\0:\S*\s+)?\[\0\]\s")
_RANK: Final = re.compile(r"(?i)(?<![\w])(?:global[_ ])?rank[\"']?\s*[:=#]?\s*\0(?![\w\0])")
_TAG: Final = re.compile(r"\[\0\]")
_STEP_NAMES: Final = frozenset(
    {
        "step",
        "steps",
        "global_step",
        "trainer/global_step",
        "iteration",
        "iterations",
        "iter",
        "update",
        "updates",
        "num_updates",
        "round",
        "batch",
        "it",
        "rank",
        "global_rank",
    }
)
_EPOCHS: Final = frozenset({"epoch", "epochs"})
#: Names of numbers that identify or locate something, and are not metrics.
_OTHER: Final = frozenset(
    {
        "pid",
        "tid",
        "thread",
        "port",
        "seed",
        "line",
        "lineno",
        "level",
        "ts",
        "timestamp",
        "@timestamp",
        "date",
        "local_rank",
        "node_rank",
        "world_size",
        "v_num",
        "eta",
        "id",
        "uid",
        "gid",
        "version",
        "http",
    }
)
#: The same at the end of several words: `Booting worker with pid: 7`.
_WHO: Final = frozenset({"pid", "tid", "port", "id", "uid", "gid"})
#: Lines of source code and values in error reports of pytest, rich and pip.
_CODE: Final = re.compile(r"\s*│|> |E {3}")
#: Keys of a JSON line that hold a time.
_TIMES: Final = frozenset({"time", "t", "created", "msecs", "relativecreated", "asctime"})


def read(shape: str) -> Reading | None:
    r"""Return the metrics that lines of a shape report.

    Parameters
    ----------
    shape : str

    Returns
    -------
    Reading or None
        None if there is neither a value nor an epoch.

    Examples
    --------
    >>> read("step \0 loss=\0 acc: \0%")
    Reading(values={'loss': 1, 'acc': 2}, step=0, epoch=None, bar=None, rank=None, tag=None)
    >>> read("{'loss': \0, 'eval': {'f1': \0}, 'epoch': \0}").values
    {'loss': 0, 'eval.f1': 1, 'epoch': 2}
    >>> read("[\0]\ttrain-rmse:\0\teval-rmse:\0").values, read("listening on \0:\0") is None
    ({'train-rmse': 1, 'eval-rmse': 2}, True)
    """
    reading = Reading()
    if _CODE.match(shape):
        return None
    if shape.rstrip().endswith("}") and "{" in shape:
        _object(shape[shape.index("{") :], shape.count(MARK, 0, shape.index("{")), reading)
    if not reading.values:
        _pairs(shape, reading)
        _columns(shape, reading)
    for kind in _STEPS:
        if (step := kind.search(shape)) is not None:
            reading.step = _token_index(shape, step.end())
            break
    if (epoch := _EPOCH.search(shape)) is not None:
        reading.epoch = _token_index(shape, epoch.end())
        reading.values.setdefault("epoch", reading.epoch)
    if (bar := _BAR.search(shape)) is not None:
        reading.bar = _token_index(shape, shape.index(MARK, bar.start()) + 1)
    if reading.step is None and (turn := _ROUND.match(shape)) is not None:
        reading.step = _token_index(shape, turn.end())
    if (rank := _RANK.search(shape)) is not None:
        reading.rank = _token_index(shape, rank.end())
    if (tag := _TAG.search(shape)) is not None:
        reading.tag = _token_index(shape, tag.end())
    reading.values = {
        name: at
        for name, at in reading.values.items()
        if (words := name.lower().split())
        and name.lower() not in _STEP_NAMES | _OTHER
        and words[-1] not in _WHO
        and (name == "epoch" or words[-1] not in _EPOCHS)
    }
    return reading if reading.values else None


def _token_index(shape: str, end: int) -> int:
    """Return the index of the last mark before `end`."""
    return shape.count(MARK, 0, end) - 1


def _pairs(shape: str, reading: Reading) -> None:
    """Find `name=1` and `name: 1`. `name:1` counts only if the line has several, because one may be a port or a file's line."""
    close = [m for m in _PAIR.finditer(shape) if m["sep"] == ":"]
    row = len(close) > 1 or _ROUND.match(shape) is not None
    before = 0
    for match in _PAIR.finditer(shape):
        before_separator, at = shape[before : match.start()], match.start("value")
        name = None
        if match["sep"] != ":" or (
            row and "/" not in before_separator and not re.search(r"\.\w{1,3}\Z", before_separator)
        ):
            name = _name(before_separator, spaced="=" not in match["sep"] or match["sep"] != "=", first=before == 0)
        before = match.end()
        if name:
            reading.values.setdefault(name, _value(shape, match["value"], at))


def _name(text: str, *, spaced: bool, first: bool) -> str | None:
    """Return the name at the end of the text before a separator: a word, or several words that are set off from the rest."""
    last = _LAST.search(text)
    if last is None or "\0" in last[1]:
        return None
    if spaced:
        cuts = list(_CUT.finditer(text))
        words = text[cuts[-1].end() if cuts else 0 :].strip(" '\"-")
        words = _LEVELS.sub("", words)
        if (cuts or first) and _WORDS.match(words) and words.endswith(last[1].split()[-1]):
            return words.rstrip("'")
    return last[1].rstrip("'")


def _columns(shape: str, reading: Reading) -> None:
    """Find values in columns: `| loss 8.1 | ppl 279`, and `Loss 6.9 (7.0)` between tabs."""
    if f"{MARK}%|" in shape:  # a bar
        return
    pieces = shape.split("|")
    rules = ((_PIPED, pieces),) if len(pieces) > 2 else ((_AVERAGED, shape.split("\t")),)
    for rule, parts in rules:
        at = 0
        for part in parts:
            if match := rule.match(part):
                name = match[1].strip()
                if "\0" not in name:
                    reading.values.setdefault(name, _value(shape, match["value"], at + match.start("value")))
            at += len(part) + 1


def _value(shape: str, text: str, at: int) -> int | float:
    return shape.count(MARK, 0, at) if text == MARK else float(text)


#: This plus its index replaces each mark before JSON is parsed: larger than numbers in logs, and exact as a float.
_SENTINEL: Final = 9_007_100_000_000_000
_MARKED: Final = re.compile(r"90071\d{11}")
_NAN: Final = re.compile(r"(?<=[:\s])(-?)(?:nan|NaN|inf|Infinity)(?=\s*[,}\]])")


def _object(text: str, before: int, reading: Reading) -> None:
    """Find the numbers of a JSON object or a Python dict."""
    indexes = iter(range(before, before + text.count(MARK)))
    marked = re.sub(MARK, lambda _: str(_SENTINEL + next(indexes)), text)
    doc: Any = None
    try:
        doc = json.loads(marked)
        texts = False
    except (ValueError, RecursionError):
        try:
            doc = ast.literal_eval(_NAN.sub("1e999", marked))
            texts = True  # since Transformers 5, its dicts hold numbers as strings
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return
    if isinstance(doc, dict):
        _walk(doc, "", reading, texts=texts)


#: Numbers nested deeper than this are no metrics; and Python's recursion limit is a thousand.
_DEEP: Final = 100


def _walk(doc: dict[Any, Any], prefix: str, reading: Reading, *, texts: bool) -> None:
    for key, value in doc.items():
        if not isinstance(key, str) or _MARKED.search(key):  # a key with a number in it differs from line to line
            continue
        name = prefix + key
        number = int(value) if texts and isinstance(value, str) and value.isdecimal() else value
        if isinstance(number, dict):
            if prefix.count(".") < _DEEP:
                _walk(number, f"{name}.", reading, texts=texts)
        elif isinstance(number, bool) or not isinstance(number, int | float) or key.lower() in _TIMES:
            continue
        elif isinstance(number, float):
            if not math.isfinite(number):
                reading.values.setdefault(name, math.nan if texts else number)
        elif number >= _SENTINEL:
            reading.values.setdefault(name, number - _SENTINEL)


_NUMBER: Final = re.compile(
    r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"(?:(?P<many>[kMGT])|(?:it|[nmuµ]?s|sec|m|min|h|[KMGT]i?B|[KMG]i|B|b|x|pt|W|C))?\Z"
)
_MANY: Final = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, None: 1.0}


def number(token: str) -> float | None:
    """Return a token as a number, without its unit; None if it is not a number.

    Examples
    --------
    >>> number("0.31"), number("3.6it"), number("12.5k"), number("7f3a"), number("10.0.0.1")
    (0.31, 3.6, 12500.0, None, None)
    """
    match = _NUMBER.match(token)
    return float(match[1]) * _MANY[match["many"]] if match else None
