r"""The numbers that a line reports: `loss=0.31 step=400`, JSON, dicts, progress bars and tables of the common libraries.

We parse the *shape* of a line: the line with `MARK` in place of each number or id. So a rule runs once per shape, not once per
line.

Supported forms: `name=1`, `name: 1`, logfmt; JSON objects and Python dicts (Hugging Face Transformers), nested ones with dotted
names, and the messages in them; the postfix of tqdm and Lightning (`loss=0.3, v_num=0`); Keras (`- loss: 0.3 - acc: 0.9`);
XGBoost, LightGBM and absl (`[12]\ttrain-rmse:0.3`); CatBoost (`0:\tlearn: 0.6`); fairseq and Megatron
(`| loss 8.1 | lm loss: 9.8E+00 |`); the PyTorch examples (`Epoch: [0][10/500]\tLoss 6.9 (7.0)`,
`Train Epoch: 1 [640/60000 (1%)]\tLoss: 0.3`); mmengine (`Epoch(train) [1][50/1563]  loss: 0.3`); scikit-learn (`loss = 0.3`);
bare names after a step (`iter 0: train loss 10.9, val loss 11.1`). `metric_tables` reads tables of several lines.
"""

from __future__ import annotations

import ast
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, Final

from cortex_jupyter.parsing.fields import MESSAGE

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
    joined : dict
        For the index of a number with separators, such as `1,234.5`, how many more marks it takes.
    per_epoch, first_epoch : int
        For a step that starts over in each epoch, as in `Epoch: [2][10/500]`: the index of the number of steps per epoch
        (the one after the step's index), and the number of the first epoch. For other steps -1 and 0.
    """

    values: dict[str, int | float] = field(default_factory=dict)
    step: int | None = None
    epoch: int | None = None
    bar: int | None = None
    rank: int | None = None
    tag: int | None = None
    per_epoch: int = -1
    first_epoch: int = 0
    joined: dict[int, int] = field(default_factory=dict, repr=False)


#: The value of a name. Marks with commas between them may be one number with separators, such as `1,234.5`; see `number`.
_VALUE: Final = r"(?P<value>\0(?:(?<=[=\s]\0)(?:,\0)+)?|[-+]?(?i:nan|inf(?:inity)?)\b)(?!%\|)%?(?![\w\0]|[-:/.,]\0|-\w)"
_PAIR: Final = re.compile(rf"(?P<sep>\s*=\s*|\s*:\s+|:)[\[(]?{_VALUE}")
_LAST: Final = re.compile(r"(?<![\w.?&])([A-Za-z_][\w.@/%+'-]*(?:\[\w+\])?)['\"]?\Z")
#: A unit between a name and its separator: `iter time (s): 0.2`.
_UNIT: Final = re.compile(r"\s?\([\w./%]{1,12}\)\Z")
#: A path or a file before `:12`.
_FILE: Final = re.compile(r"(?<!\0)/|\.\w{1,3}\Z")
_CUT: Final = re.compile(r"[|,;\t\[\]:(){}\"=]|\s-\s|\s{2,}|\0")
_WORDS: Final = re.compile(r"[A-Za-z_][\w.@/%+'-]*(?: [A-Za-z_(][\w.@/%+')-]*){0,3}\Z")
_PIPED: Final = re.compile(rf"\s*([A-Za-z_][\w.@/ ()-]*?)\s*[:=]?\s+{_VALUE}\s*\Z")
_AVERAGED: Final = re.compile(rf"\s*([A-Za-z_][\w.@/-]*)\s+{_VALUE}\s*\(\s*\0\)")
_LEVELS: Final = re.compile(r"(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|CRITICAL|FATAL)\s+")
#: Words before the last word of a name that belong to it, as in `train loss=0.3`.
_QUALIFIED: Final = re.compile(
    r"(?i)(?:(?:train|training|val|valid|validation|test|ev(?:al|aluation)|dev|avg|average|mean|total|final|best|running|"
    r"learning|grad|gradient|lm|global|moving|smoothed|min|max|top)\s){1,3}\S+\Z"
)
#: Words for the step before its number; the first group that a line contains counts.
_STEPS: Final = tuple(
    re.compile(rf"(?i)(?:(?<=\0/)|(?<![\w./]))(?:{words})[\"']?\s*[:=#]?\s*[\[(\"']?\s*\0(?![\w\0]|[-:.,]\0)")
    for words in (
        r"(?:\w+[_/])?global[_ ]steps?|total_timesteps|num_updates",
        "_?steps?",
        r"iterations?|iter(?:\(train\))?|updates?|(?:train|current|optimizer)_steps?|iter_num",
        "rounds?|batch|it",
        "episodes?|timesteps?",
    )
)
#: mmengine writes `Epoch(val) [3][10/10]`, and without an epoch `Epoch(test) [10/10]`; timm writes `Train: 3 [ 50/100 (50%)]`.
_EPOCH: Final = re.compile(
    r"(?i)(?<![\w./])epochs?(?:[\"']?\s*[:=#]?\s*[\[(\"']?\s*\0(?![\w\0%]|[-:.]\0)|\(\w+\)\s*\[\s*\0(?=\]\[))"
    r"|(?<!\S)(?:train|test|val|valid):\s+\0(?=\s+\[\s*\0/)"
)
#: The step within an epoch. The first epoch of mmengine, mmcv and PyTorch's word_language_model is 1; that of PyTorch's other
#: examples and timm is 0.
_WITHIN: Final = re.compile(
    r"(?i)(?<![\w./])(?:(?:epoch(?P<one>\(train\)|\s)\s*\[\s*\0\]|epoch:\s*\[\s*\0\]|train:\s+\0\s+)\[\s*\0/\0(?=\]|\s*\()"
    r"|epoch\s+\0(?P<pipe>\s*\|)\s*\0/\s*\0(?=\sbatches))"
)
_BAR: Final = re.compile(
    r"(?:^|[|\s\[])\s*\0/\0(?:\s+\[|\s+[━=>-]|\]|\s+-\s)|(?:^|[|\[]|(?<![:=])\s)\s*\0/\0\s*\("  # not `Accuracy: 98/100 (98%)`
)
#: What the bar of mmengine counts in an evaluation is no step of the training.
_EVALUATION: Final = re.compile(r"\((?:val|test)\)\s*\[\s*\0/")
#: A number in brackets directly before the first name, after nothing or a logger's head: `[12]\ttrain-rmse:0.3`.
_ROUND: Final = re.compile(
    r"(?:\A\s*|[\]:|>)-]\s*|\0\s+)\[\0\](?=(?: collection=\w+)?\s+[A-Za-z_][^\0\[\]{}|=:]{0,60}[=:]\s*[\[(]?(?:\0|[-+]?(?i:nan|inf)))"
)
#: CatBoost's rows.
_ROW: Final = re.compile(r"\A\s*\0:\t(?=\w+: \0)")
#: A row of columns that begins with its step: `100 | loss 3.2 | lr 0.1`.
_NUMBERED: Final = re.compile(r"\A\s*\0 \|(?=\s*[A-Za-z])")
_RANK: Final = re.compile(r"(?i)(?<![\w])(?:global[_ ])?rank[\"']?\s*[:=#]?\s*\0(?![\w\0])")
_TAG: Final = re.compile(r"\[\0\]")
#: Prefixes that launchers write before each line: torchrun `[default0]:`, mpirun `[1,0]<stdout>:`.
_LAUNCHED: Final = re.compile(r"\A(?:\[\0\]:|\[\0,\0(?=\]<std(?:out|err)>:))")
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
        "global_steps",
        "_step",
        "micro_step",
        "train_step",
        "current_steps",
        "optimizer_step",
        "iter_num",
        "total_timesteps",
        "timestep",
        "timesteps",
        "episode",
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
        "remaining",
        "id",
        "uid",
        "gid",
        "version",
        "http",
    }
)
#: The same at the end of several words: `Booting worker with pid: 7`, `exit code: 137`.
_WHO: Final = frozenset({"pid", "tid", "port", "id", "uid", "gid", "code", "attempt"})
#: Names of exceptions: `KeyError: 3`.
_EXCEPTION: Final = re.compile(r"[a-z](?:Error|Exception|Warning)$")
#: Words of a sentence. A name between numbers never consists of them alone: `reduced to 3`, `the 5`.
_PROSE: Final = re.compile(
    r"(?i)(?<!\S)(?:an?|and|are|as|at|after|before|by|every|for|from|has|in|is|last|next|of|on|or|over|per|since|than|the|then|"
    r"to|took|takes|until|was|were|with|waiting|waited|retry|retrying|retried|found|saved|using)(?!\S)"
)
#: Last words of names whose values may follow them without a sign.
MEASURES: Final = (
    "loss|losses|acc|accuracy|acc1|acc5|ppl|perplexity|lr|auc|f1|rmse|mae|mse|nll|bleu|wer|cer|miou|logloss|reward|return|"
    "inertia|objective|recall|precision|psnr|ssim|fid|mfu|kl|elbo|entropy"
)
_MEASURE: Final = re.compile(rf"(?i)(?:.*[ _/])?(?:{MEASURES})\Z")
#: Lines of source code and values in error reports of pytest, rich and pip.
_CODE: Final = re.compile(r"\s*│|> |E {3}")
#: Wide gaps: rules that allow blanks in several places would try each way to share them.
_WIDE: Final = re.compile(r"(\s)\s{8,}")
#: Most characters of a text that are examined; the page examines as many.
_LONGEST: Final = 8192
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
    Reading(values={'loss': 1, 'acc': 2}, step=0, epoch=None, bar=None, rank=None, tag=None, per_epoch=-1, first_epoch=0)
    >>> read("{'loss': \0, 'eval': {'f1': \0}, 'epoch': \0}").values
    {'loss': 0, 'eval.f1': 1, 'epoch': 2}
    >>> read("[\0]\ttrain-rmse:\0\teval-rmse:\0").values, read("listening on \0:\0") is None
    ({'train-rmse': 1, 'eval-rmse': 2}, True)
    """
    reading = Reading()
    shape = narrow(shape)
    if _CODE.match(shape):
        return None
    if "{" in shape:
        _object(shape, reading)
    if not reading.values:
        _text(shape, reading)
    reading.step = _find(shape, *_STEPS, _ROUND, _ROW, _NUMBERED)
    reading.epoch = _find(shape, _EPOCH)
    reading.rank = _find(shape, _RANK, _LAUNCHED)
    reading.tag = _find(shape, _TAG)
    if reading.epoch is not None:
        reading.values.setdefault("epoch", reading.epoch)
    if (bar := _BAR.search(shape)) is not None and not _EVALUATION.search(shape, 0, bar.end()):
        reading.bar = _token_index(shape, shape.index(MARK, bar.start()) + 1)
    if reading.step is None and (within := _WITHIN.search(shape)) is not None:
        reading.per_epoch, reading.first_epoch = (
            _token_index(shape, within.end()),
            int(bool(within["one"] or within["pipe"])),
        )
    reading.values = {
        name: at
        for name, at in reading.values.items()
        if (words := name.lower().split())
        and (name == "epoch" or at not in (reading.step, reading.epoch) or isinstance(at, float))
        and name.lower() not in _STEP_NAMES | _OTHER
        and words[-1] not in _WHO
        and not _EXCEPTION.search(name)
        and (name == "epoch" or words[-1] not in _EPOCHS)
    }
    return reading if reading.values else None


def narrow(shape: str) -> str:
    """Return a shape with two blanks instead of each wide gap.

    Examples
    --------
    >>> narrow("step" + 4000 * " " + "loss")
    'step  loss'
    """
    return _WIDE.sub(r"\1\1", shape)


def _find(shape: str, *rules: re.Pattern[str]) -> int | None:
    """Return the index of the last mark of the first rule that matches."""
    matches = (rule.search(shape) for rule in rules)
    return next((_token_index(shape, match.end()) for match in matches if match is not None), None)


def _token_index(shape: str, end: int) -> int:
    """Return the index of the last mark before `end`."""
    return shape.count(MARK, 0, end) - 1


def _text(shape: str, reading: Reading) -> None:
    """Find the numbers of a text in every form except JSON objects and Python dicts."""
    shape = _TENSOR.sub(lambda match: match[1] + _marks_in_parentheses(match[2]), shape[:_LONGEST])
    _pairs(shape, reading)
    _columns(shape, reading)
    _bare(shape, reading)
    if _ROW.match(shape):  # CatBoost's `total` and `remaining` change their unit from line to line
        reading.values.pop("total", None)


#: A number in a tensor, as PyTorch prints it: `tensor(0.3, device='cuda:0')`. A tensor of several numbers has brackets.
_TENSOR: Final = re.compile(r"\btensor\((\0|[-+]?(?:nan|inf))((?:, \w+=[^()\[\]]*)?)\)")
#: The same in a Python dict, after `_object` has replaced the marks.
_MARKED_TENSOR: Final = re.compile(r"(?<=: )tensor\((90071\d{11}|[-+]?(?:nan|inf))(?:, \w+=[^()\[\]]*)?\)(?=[,}])")


def _marks_in_parentheses(text: str) -> str:
    """Return only the marks of a text, so that the marks after it keep their indices. Numbers in parentheses are no values."""
    return f" ({MARK * text.count(MARK)})" if MARK in text else ""


def _pairs(shape: str, reading: Reading) -> None:
    """Find `name=1` and `name: 1`. `name:1` counts only if the line has several, because one may be a port or a file's line."""
    close = [m for m in _PAIR.finditer(shape) if m["sep"] == ":"]
    row = len(close) > 1 or _ROUND.search(shape) is not None
    before, name = 0, None
    for match in _PAIR.finditer(shape):
        before_separator, at = shape[before : match.start()], match.start("value")
        if match["sep"] != ":" or (row and not _FILE.search(before_separator)):
            name = _name(before_separator, spaced=match["sep"] != "=", first=before == 0, follows=name is not None)
        else:
            name = None
        before = match.end()
        if name and (shape[at - 1] != "(" or shape[before : before + 1] != ","):  # no shape: `(3, 4)`
            reading.values.setdefault(name, _value(shape, match["value"], at, reading))


def _name(text: str, *, spaced: bool, first: bool, follows: bool) -> str | None:
    """Return the name at the end of the text before a separator: a word, or several words that are set off from the rest.

    `first`: no separator comes before. `follows`: the value of another name does.
    """
    unit = _UNIT.search(text) if spaced else None
    plain = text[: unit.start()] if unit else text
    last = _LAST.search(plain)
    if last is None or "\0" in last[1]:
        return None
    cuts = list(_CUT.finditer(plain))
    words = _LEVELS.sub("", plain[cuts[-1].end() if cuts else 0 :].strip(" '\"-"))
    if cuts and cuts[-1][0] == "=":  # the first word is a value: `phase=train loss=0.3`
        words = words.partition(" ")[2]
    if not (_WORDS.match(words) and words.endswith(last[1].split()[-1])):
        words = last[1]
    elif not (spaced and (cuts or first)):
        # Between two values without a sign, or before `=`: `loss: 0.3 lm loss: 0.2`.
        part = _QUALIFIED.search(words)
        between = spaced and follows and not _PROSE.search(words)
        words = words if between else part[0] if part else last[1]
    return words.rstrip("'") + (unit[0] if unit else "")


#: What separates values that follow their names without a sign.
_SEPARATED: Final = re.compile(r"[,;|\t]|\s-\s|:\s|\]\s|\s{2,}")
#: A value after its name without a sign: `train loss 0.3`, `loss 6.9 (7.0)`.
_NAMED: Final = re.compile(
    rf"([A-Za-z_][\w.@/%-]*(?: [A-Za-z_][\w.@/%-]*){{0,2}})\s+{_VALUE}(?:\s?\([^()]*\))?(?=\s|\.?\Z)"
)


def _bare(shape: str, reading: Reading) -> None:
    """Find values that follow their names without a sign: `iter 0: loss 10.9, time 31ms`.

    Counting sentences have this form too. So it counts after a step, or with the name of a usual measure; and a part
    between commas counts only as a whole.
    """
    if f"{MARK}%|" in shape:  # a bar
        return
    ends = [label.end() for rule in (*_STEPS, _EPOCH) if (label := rule.search(shape)) is not None]
    begin = max(ends, default=0)
    named_values: list[tuple[str, int | float]] = []
    at = begin
    for cut in (*_SEPARATED.finditer(shape, begin), None):
        part_end = cut.start() if cut else len(shape)
        part = shape[at:part_end]
        indent = len(part) - len(part.lstrip())
        pairs, end = [], indent
        while match := _NAMED.match(part, end):
            pairs.append((match[1], _value(shape, match["value"], at + match.start("value"), reading)))
            end = match.end() + len(part[match.end() :]) - len(part[match.end() :].lstrip())
        if part[end:].strip() in ("", ".") and not any(_PROSE.search(name) for name, _ in pairs):
            named_values += pairs
        at = cut.end() if cut else at
    is_named = ends or len(named_values) > 1 or (named_values and " " in named_values[0][0])
    if is_named and any(_MEASURE.match(name) for name, _ in named_values):
        for name, where in named_values:
            reading.values.setdefault(name, where)


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
                    reading.values.setdefault(name, _value(shape, match["value"], at + match.start("value"), reading))
            at += len(part) + 1


def _value(shape: str, text: str, at: int, reading: Reading) -> int | float:
    if text[0] != MARK:
        return float(text)
    index = shape.count(MARK, 0, at)
    if text != MARK:
        reading.joined[index] = text.count(",")
    return index


#: This plus its index replaces each mark before JSON is parsed: larger than numbers in logs, and exact as a float.
_SENTINEL: Final = 9_007_100_000_000_000
_MARKED: Final = re.compile(r"90071\d{11}")
_NAN: Final = re.compile(r"(?<=[:\s])(-?)(?:nan|NaN|inf|Infinity)(?=\s*[,}\]])")


def _object(shape: str, reading: Reading) -> None:
    """Find the numbers of a JSON object or a Python dict in a line."""
    begin, end = shape.index("{"), shape.rfind("}") + 1
    indexes = iter(range(shape.count(MARK, 0, begin), shape.count(MARK)))
    marked = re.sub(MARK, lambda _: str(_SENTINEL + next(indexes)), shape[begin:end])
    doc: Any = None
    not_finite = None
    try:
        doc = json.loads(marked)
        # fairseq writes numbers as strings into JSON, and Transformers since version 5 into dicts.
        texts = isinstance(doc, dict) and not _COUNTERS.isdisjoint(doc)
    except (ValueError, RecursionError):
        try:
            doc = ast.literal_eval(_NAN.sub("1e999", _MARKED_TENSOR.sub(r"\1", marked)))
            texts, not_finite = True, math.nan
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return
    if isinstance(doc, dict):
        _walk(doc, "", reading, texts=texts, not_finite=not_finite)
        _part(shape[end:], shape.count(MARK, 0, end), reading)


#: Keys of objects with numbers as strings, as some trainers write them.
_COUNTERS: Final = frozenset({"epoch", "num_updates", "train_num_updates", "global_step"})
#: Numbers nested deeper than this are no metrics; and Python's recursion limit is a thousand.
_DEEP: Final = 100


def _walk(doc: dict[Any, Any], prefix: str, reading: Reading, *, texts: bool, not_finite: float | None) -> None:
    for key, value in doc.items():
        if not isinstance(key, str) or _MARKED.search(key):  # a key with a number in it differs from line to line
            continue
        name = prefix + key
        number = int(value) if texts and isinstance(value, str) and value.isdecimal() else value
        if isinstance(number, dict):
            if prefix.count(".") < _DEEP:
                _walk(number, f"{name}.", reading, texts=texts, not_finite=not_finite)
        elif isinstance(number, str):
            if key in MESSAGE and (first := _MARKED.search(number)):
                _part(_MARKED.sub(MARK, number), int(first[0]) - _SENTINEL, reading)
        elif isinstance(number, bool) or not isinstance(number, int | float) or key.lower() in _TIMES:
            continue
        elif isinstance(number, float):
            if not math.isfinite(number):
                reading.values.setdefault(name, number if not_finite is None else not_finite)
        elif number >= _SENTINEL:
            reading.values.setdefault(name, number - _SENTINEL)


def _part(text: str, first: int, reading: Reading) -> None:
    """Find the numbers in a part of a line that has `first` marks before it: the message of a JSON line."""
    part = Reading()
    _text(text, part)
    for name, at in part.values.items():
        reading.values.setdefault(name, at + first if isinstance(at, int) else at)
    reading.joined.update({at + first: more for at, more in part.joined.items()})


_NUMBER: Final = re.compile(
    r"([-+]?(?:[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?|\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"(?:(?P<many>[kMGT])|(?:it|[nmuµ]?s|sec|m|min|h|[KMGT]i?B|[KMG]i|B|b|x|pt|W|C))?\Z"
)
_MANY: Final = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, None: 1.0}


def number(token: str) -> float | None:
    """Return a token as a number, without its unit; None if it is not a number.

    Examples
    --------
    >>> number("0.31"), number("3.6it"), number("12.5k"), number("1,234.5"), number("7f3a"), number("10.0.0.1"), number("3,4")
    (0.31, 3.6, 12500.0, 1234.5, None, None, None)
    """
    match = _NUMBER.match(token)
    return float(match[1].replace(",", "")) * _MANY[match["many"]] if match else None
