"""Masking of secrets in what is recorded, and in what is compared with recorded lines.

Parsed lines are as written. They are masked at two places: when a commit is built (`writing.batch`), and wherever they
are compared with recorded lines. So masked text is compared with masked text. Masking a line again changes nothing.

A recording that was masked once stays masked. Otherwise lines that a second recorder reads again would be compared in
one form and stored in another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cortex_jupyter.parsing.masking import mask

if TYPE_CHECKING:
    from collections import Counter

    from cortex_jupyter.recorder.text.align import Line


@dataclass(frozen=True, slots=True)
class Masking:
    """Whether a recording's secrets are masked: tokens, keys, passwords and e-mail addresses.

    Parameters
    ----------
    is_on : bool

    Examples
    --------
    >>> rows = [(1, "HF_TOKEN=hf_abcdefghijkl")]
    >>> Masking().rows(rows), Masking(is_on=True).rows(rows)
    ([(1, 'HF_TOKEN=hf_abcdefghijkl')], [(1, 'HF_TOKEN=[masked]')])
    """

    is_on: bool = False

    def rows(self, rows: list[Line]) -> list[Line]:
        """Return lines in the form for comparison.

        Use it for read lines and for recorded ones: some of these may be from before masking was turned on.
        """
        if not self.is_on:
            return rows
        masked = list(rows)
        for index, text, _ in mask([text for _, text in rows]):
            masked[index] = (rows[index][0], text)
        return masked

    def texts(self, texts: list[str], counts: Counter[str]) -> list[str]:
        """Return texts in their stored form, and add the number of masked secrets to `counts`."""
        if not self.is_on:
            return texts
        masked = list(texts)
        for index, text, kinds in mask(texts):
            masked[index] = text
            counts.update(kinds)
        return masked


UNMASKED: Final = Masking()
