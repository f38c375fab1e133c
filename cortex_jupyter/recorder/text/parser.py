"""Parse lines as they were written, or with their secrets masked before anything else sees them.

One `Parser` parses the lines to store, the lines to compare on resume, and the lines of rotated files. So masked text
is compared with masked text. A recording that was masked once stays masked: else lines that a second recorder reads
again would be compared in one form and stored in another.
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
    """Parses lines into the form in which they are stored.

    Parameters
    ----------
    masked : bool
        Whether tokens, keys, passwords and e-mail addresses are masked (`cortex_jupyter.parsing.masking`).

    Examples
    --------
    >>> line = b"2023-11-14T22:13:20Z HF_TOKEN=hf_abcdefghijkl"
    >>> Parser().lines(line).texts, Parser(masked=True).lines(line).texts
    (['HF_TOKEN=hf_abcdefghijkl'], ['HF_TOKEN=[masked]'])
    """

    masked: bool = False

    def lines(self, piece: bytes) -> Lines:
        """Parse whole lines; see `lines.parse`."""
        return self._mask(parse(piece))

    def file(self, data: bytes) -> Lines:
        """Parse a container's log file; see `lines.parse_cri`."""
        return self._mask(parse_cri(data))

    def _mask(self, lines: Lines) -> Lines:
        if self.masked:
            for index, text, kinds in mask(lines.texts):
                lines.texts[index] = text
                lines.masked[index] = kinds
        return lines

    def rows(self, recorded: list[Line]) -> list[Line]:
        """Return recorded lines in the present form: some may be from before masking was turned on."""
        if not self.masked:
            return recorded
        rows = list(recorded)
        for i, text, _ in mask([text for _, text in recorded]):
            rows[i] = (recorded[i][0], text)
        return rows

    def text(self, text: str, kinds: Counter[str]) -> str:
        """Return a text that is no line, such as the message of an event, in its stored form.

        Secrets that are masked in it are counted in `kinds`.
        """
        if not self.masked:
            return text
        masker = Mask()
        text = masker(text)
        kinds.update(masker.counts)
        return text


PLAIN: Final = Parser()
