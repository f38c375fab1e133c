"""How lines are read: as they were written, or with their secrets masked before anything else sees them.

What is stored, what is compared with it on resume, and what is looked for in rotated files come out of one `Parser`, so
that masked is compared with masked. A recording that was masked once stays so: else what a second recorder reads again
would have to be compared in one form and stored in another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cortex_jupyter.parsing.masking import Mask, mask
from cortex_jupyter.recorder.text.lines import Lines, parse, parse_cri

if TYPE_CHECKING:
    from collections import Counter

    from cortex_jupyter.recorder.text.align import Line


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
