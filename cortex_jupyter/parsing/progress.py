"""Parsing of progress bars: the numbers in a bar of tqdm, rich, pip, Keras or alive-progress.

`js/src/text/progress.ts` does the same in the page; `tests/parsing/fixtures/progress.json` holds both to the same
answers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cortex_jupyter.parsing.fields import plain


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a bar. Values that the bar does not show are None or empty.

    Parameters
    ----------
    label : str
    fraction : float or None
        Finished part of the whole, 0 to 1.
    step, total : float or None
        In `unit`; bytes if the unit is `B`.
    rate : float or None
        `unit` per second.
    unit : str
        The bar's own word: `it`, `B`, `step`, `examples` ...
    elapsed, remaining : float or None
        Seconds.
    rest : str
        Text that the program adds: `loss=0.31`.
    """

    label: str
    fraction: float | None = None
    step: float | None = None
    total: float | None = None
    rate: float | None = None
    unit: str = ""
    elapsed: float | None = None
    remaining: float | None = None
    rest: str = ""


#: Longest line that is parsed as a bar (characters).
_REACH: Final = 1000
_NUMBER: Final = r"\d+(?:\.\d+)?"
_SIZE: Final = rf"(?:{_NUMBER}\s?[kKMGTP]?)"
_CLOCK: Final = r"(?:\d+ days?, )?(?:\d+:)?\d+:\d\d(?:\.\d+)?"
_TIMES: Final = rf"\[({_CLOCK})(?:<({_CLOCK}|\?))?,\s*([^,\]]*)(?:,\s*([^\]]*))?\]"
#: tqdm (https://tqdm.github.io: `bar_format`): the parts before and after its bar, and its form without a total.
_BEFORE: Final = re.compile(r"(\d{1,3})%\|")
_TQDM: Final = re.compile(rf"[^|]*\|\s*({_SIZE})(?:/({_SIZE}))?(?: {_TIMES})?\s*$")
_DRAWN: Final = re.compile(r"[█▏▎▍▌▋▊▉#\d ]*\|")
_OPEN: Final = re.compile(rf"^(?:(.*?):\s+)?({_SIZE})([A-Za-z]+) {_TIMES}\s*$")
#: rich's bars, heavy or plain, with any columns around them; Keras 3, pip and uv draw the same.
_LINE: Final = re.compile(r"^(.*?)[━╸╺─╾]{5,}(.*)$")
_KERAS: Final = re.compile(r"^\s*(\d+)/(\d+|Unknown) \[[=>.]+\](.*)$")
_ALIVE: Final = re.compile(
    rf"^(?:(.*?) )?\|[^|]*\| (?:({_NUMBER})/({_NUMBER}) )?\[?(\d+)%\]? in ({_NUMBER})s \(([^)]*)\)(.*)$"
)
_SHARE: Final = re.compile(rf"(?<![\d.])({_NUMBER})\s?%")
_PARTS: Final = re.compile(
    rf"(?<![\d.])({_NUMBER})\s?((?:[kKMGTP]i?)?[bB]?)/({_NUMBER})\s?((?:[kKMGTP]i?)?[bB]?(?:ytes)?)(?![\w/])"
)
_SPEED: Final = re.compile(rf"(?<![\d.])({_NUMBER})\s?((?:[kKMGTP]i?)?)([A-Za-z]+)/s(?:ec)?\b")
_SLOW: Final = re.compile(rf"(?<![\d.])({_NUMBER})\s?(ms|us|s)/([A-Za-z]+)")
_WHEN: Final = re.compile(r"(?:(eta)[: ]\s*)?(?<![\d:.])((?:\d+:)?\d+:\d\d|\d+s\b)", re.IGNORECASE)
_SCALE: Final = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}
_SIGNS: Final = ("%|", "━", " [=", " [>", "%] in ", "it [", "/s]")


def progress(text: str) -> Progress | None:
    r"""Parse a progress bar.

    Parameters
    ----------
    text : str
        A line. If a bar was redrawn in it (`\r`), its last state counts.

    Returns
    -------
    Progress or None
        None if the line is not a progress bar.

    Notes
    -----
    Forms: tqdm (also Hugging Face's and Lightning's), rich (also pip's), Keras 2 and 3, alive-progress.

    Examples
    --------
    >>> bar = progress("train:  62%|██████▏   | 1240/2000 [06:40<04:05,  3.10it/s, loss=2.13]")
    >>> bar.label, bar.step, bar.total, bar.rate, bar.remaining, bar.rest
    ('train', 1240.0, 2000.0, 3.1, 245.0, 'loss=2.13')
    >>> progress("62 % of the shards are here") is None
    True
    """
    line = _last(text)
    if not line or not any(sign in line for sign in _SIGNS):
        return None
    if bar := _tqdm(line):
        return bar
    for form, parse in _FORMS:
        if (match := form.match(line)) and (bar := parse(match)):
            return bar
    return None


def last_state(text: str) -> str:
    r"""Return the newest state of a line that was redrawn with carriage returns: its last part that is not blank.

    Examples
    --------
    >>> last_state(" 10%|# |\r 20%|##|\r        \r"), last_state(" not redrawn ")
    (' 20%|##|', ' not redrawn ')
    """
    if "\r" not in text:
        return text
    return next((part for part in reversed(text.split("\r")) if plain(part).strip()), "")


def _last(text: str) -> str:
    """Return the newest state of a bar; "" if it is too long for one."""
    if "\r" in text:
        text = last_state(text[-4 * _REACH :])
    line = plain(text).rstrip() if len(text) <= 4 * _REACH else ""
    return line if len(line) <= _REACH else ""


def _tqdm(line: str) -> Progress | None:
    share = _BEFORE.search(line)
    match = share and _TQDM.match(line, share.end())
    if not share or not match or not (match[3] or (match[2] and _DRAWN.match(line, share.end()))):
        return None
    step_text, total_text, elapsed, remaining, rate, rest = match.groups()
    total, step = _size(total_text), _size(step_text)
    fraction = step / total if step is not None and total else int(share[1]) / 100
    speed, unit = _rate(rate or "")
    label = _label(line[: share.start()])
    return Progress(label, fraction, step, total, speed, unit, _seconds(elapsed), _seconds(remaining), _tail(rest))


def _open(match: re.Match[str]) -> Progress:
    label, step, unit, elapsed, remaining, rate, rest = match.groups()
    speed, _ = _rate(rate)
    return Progress(
        _label(label), None, _size(step), None, speed, unit, _seconds(elapsed), _seconds(remaining), _tail(rest)
    )


def _line(match: re.Match[str]) -> Progress | None:
    """Parse a drawn line with numbers around it. Without numbers it is only a ruler, and the result is None."""
    before, after = match[1], match[2]
    share, parts = _SHARE.search(after), _PARTS.search(after)
    keras = re.match(r"^\s*(\d+)/(\d+)\s*$", before)
    step = total = fraction = None
    unit = ""
    if keras:
        step, total, unit, before = float(keras[1]), float(keras[2]), "step", ""
    elif parts:
        scale = parts[4] or parts[2]
        step, total = (_size(number + scale[:1].strip("bB")) for number in (parts[1], parts[3]))
        unit = "B" if "b" in scale.lower() else ""
    if step is not None and total:
        fraction = step / total
    if share:
        fraction = float(share[1]) / 100
    if fraction is None:
        return None
    rate, named = _rate(after)
    elapsed, remaining = _when(after, done=fraction >= 1)
    rest = after.split(" - ", 1)[1].strip() if keras and " - " in after else ""
    return Progress(_label(before), fraction, step, total, rate, unit or named, elapsed, remaining, rest)


def _keras(match: re.Match[str]) -> Progress:
    step, after = float(match[1]), match[3]
    total = float(match[2]) if match[2].isdecimal() else None
    rate, _ = _rate(after)
    elapsed, remaining = _when(after, done=step == total)
    metrics = [part for part in after.split(" - ")[1:] if not re.match(r"\s*(?:ETA|\d+s?\b)(?!.*: \d+\.)", part)]
    return Progress(
        "", step / total if total else None, step, total, rate, "step", elapsed, remaining, " - ".join(metrics).strip()
    )


def _alive(match: re.Match[str]) -> Progress:
    label, step_text, total_text, share, elapsed, speeds, rest = match.groups()
    rate, unit = _rate(speeds)
    if rate is None and (bare := re.match(rf"~?({_NUMBER})/s", speeds)):
        rate = float(bare[1])
    _, remaining = _when(speeds, done=False)
    step, total = (float(step_text), float(total_text)) if step_text else (None, None)
    return Progress(_label(label), int(share) / 100, step, total, rate, unit, float(elapsed), remaining, rest.strip())


_FORMS: Final = ((_KERAS, _keras), (_LINE, _line), (_ALIVE, _alive), (_OPEN, _open))


def _label(text: str | None) -> str:
    return (text or "").strip().rstrip(":").strip(" •|")


def _tail(text: str | None) -> str:
    return (text or "").strip()


def _size(text: str | None) -> float | None:
    if not text:
        return None
    number, scale = re.fullmatch(rf"({_NUMBER})\s?([A-Za-z]?)", text.strip()).groups()  # type: ignore[union-attr]
    return float(number) * _SCALE[scale.lower()]


def _rate(text: str) -> tuple[float | None, str]:
    """Parse a rate as units per second; the bar may show seconds per unit instead."""
    if match := _SPEED.search(text):
        return float(match[1]) * _SCALE[match[2][:1].lower()], "B" if match[3] in ("b", "B") else match[3]
    if match := _SLOW.search(text):
        each = float(match[1]) * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[match[2]]
        return (1 / each if each else None), match[3]
    return None, ""


def _when(text: str, *, done: bool) -> tuple[float | None, float | None]:
    """Parse the only time that such a bar shows: the remaining time, or the elapsed time once it is done."""
    match = _WHEN.search(_SLOW.sub("", text))
    if match is None:
        return None, None
    value = _seconds(match[2])
    return (value, None) if done and not match[1] else (None, value)


def _seconds(text: str | None) -> float | None:
    if not text or text == "?":
        return None
    days, _, clock = text.rpartition(", ")
    total = 0.0
    for part in clock.rstrip("s").split(":"):
        total = 60 * total + float(part)
    return total + 86400 * (int(days.split()[0]) if days else 0)
