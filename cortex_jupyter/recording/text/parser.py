"""How lines are read: as they were written, or with their secrets masked before anything else sees them.

What is stored, what is compared with it on resume, and what is looked for in rotated files come out of one `Parser`, so
that masked is compared with masked. A recording that was masked once stays so: else what a second recorder reads again
would have to be compared in one form and stored in another.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import BadQuery, StoreBusy, StoreError, StoreFull
from cortex_jupyter.parsing.masking import Mask, mask, rules
from cortex_jupyter.recording.store import is_shared
from cortex_jupyter.recording.text.lines import Lines, parse, parse_cri

if TYPE_CHECKING:
    from collections import Counter

    from cortex_jupyter.recording.store import Store
    from cortex_jupyter.recording.text.align import Line

_log = logging.getLogger(__name__)

_WORDS: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


@dataclass(frozen=True, slots=True)
class Parser:
    """Reads lines in the form in which they are stored.

    Parameters
    ----------
    masked : bool
        Tokens, keys, passwords and e-mail addresses are masked (`cortex_jupyter.parsing.masking`).

    Examples
    --------
    >>> line = b"2023-11-14T22:13:20Z HF_TOKEN=hf_abcdefghijkl"
    >>> Parser().lines(line).texts, Parser(masked=True).lines(line).texts
    (['HF_TOKEN=hf_abcdefghijkl'], ['HF_TOKEN=[masked]'])
    """

    masked: bool = False

    def lines(self, piece: bytes) -> Lines:
        """Read whole lines, as `lines.parse`."""
        return self._done(parse(piece))

    def file(self, data: bytes) -> Lines:
        """Read a container's log file, as `lines.parse_cri`."""
        return self._done(parse_cri(data))

    def _done(self, lines: Lines) -> Lines:
        if self.masked:
            for place, text, kinds in mask(lines.texts):
                lines.texts[place] = text
                lines.masked[place] = kinds
        return lines

    def rows(self, recorded: list[Line]) -> list[Line]:
        """Give recorded lines as they are read now: some may be from before masking was switched on."""
        if not self.masked:
            return recorded
        found = list(recorded)
        for place, text, _ in mask([text for _, text in recorded]):
            found[place] = (recorded[place][0], text)
        return found

    def text(self, text: str, kinds: Counter[str]) -> str:
        """Give a text that is no line, such as the message of an event; what is masked in it is counted in `kinds`."""
        if not self.masked:
            return text
        one = Mask()
        text = one(text)
        kinds.update(one.counts)
        return text


PLAIN: Final = Parser()


def wished(*, wish: bool | None = None) -> bool | None:
    """Tell whether lines are to be masked, as a setting has it, else `CORTEX_MASK`; None where neither says.

    Raises
    ------
    MissingExtra
        They are to be, and detect-secrets is not installed.
    BadQuery
        `CORTEX_MASK` says neither yes nor no.
    """
    if wish is None and (word := os.environ.get("CORTEX_MASK", "").strip().lower()):
        if word not in _WORDS:
            raise BadQuery(f"CORTEX_MASK={word!r} says neither yes nor no", "set it to 1 or 0")
        wish = _WORDS[word]
    if wish:
        rules()
    return wish


def masking(store: Store, *, wish: bool | None = None) -> bool:
    """Return whether lines are masked before they are stored, and set it for all who use the store.

    In a store that others share it is an administrator's to set: a wish then holds for recorders that this process starts.

    Parameters
    ----------
    store : Store
    wish : bool, optional
        Else `CORTEX_MASK`, else what somebody has set before.

    Raises
    ------
    MissingExtra, BadQuery
        As `wished`.
    StoreFull, StoreBusy
        It cannot be set now.
    """
    wish = wished(wish=wish)
    if wish is not None and is_shared(store.url):
        if wish != (store.setting("mask") == "1"):
            word = "on" if wish else "off"
            _log.warning(
                "masking is an administrator's to set in %s: cortex-jupyter store set mask=%s", store.url, word
            )
        return wish or store.setting("mask") == "1"
    if wish is not None and wish != (store.setting("mask") == "1"):
        try:
            store.set_setting("mask", str(int(wish)))
        except (StoreFull, StoreBusy):
            raise  # a recorder that can write a moment later must know
        except StoreError:
            return wish  # where nothing can be written, nothing is recorded, and reading goes on
    return store.setting("mask") == "1"
