"""What the cluster does not let this recorder read: it is left to recorders with other rights, and tried again ever more rarely."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from cortex_jupyter.errors import NotAllowed
    from cortex_jupyter.store import RecordingInfo

#: Tried again after so long, seconds; each time in a row after twice as long. A right that is given later is noticed by
#: then, and sooner where the cluster tells who may do what.
_FIRST_S, _LONGEST_S = 5.0, 60.0
#: So long, seconds, others have to take it before its readers are told why it is not recorded: one with a reader's own rights
#: has to be started first.
OTHERS_S: Final = 5.0


@dataclass(slots=True)
class _Refusal:
    namespace: str
    wait: float = _FIRST_S / 2
    until: float = 0.0
    tell: float = math.inf
    error: NotAllowed | None = None
    told: str = ""


class Refusals:
    """The refusals of one recorder, by recording.

    Parameters
    ----------
    clock : callable, optional
        Gives seconds.

    Examples
    --------
    >>> from types import SimpleNamespace as Space
    >>> info, now = Space(id=1, ref=Space(namespace="ml")), 0.0
    >>> refusals = Refusals(lambda: now)
    >>> refusals.add(info, ValueError("forbidden"))
    >>> refusals.waits(1), refusals.waits(2), refusals.namespaces
    (True, False, ('ml',))
    >>> now = 5.0
    >>> refusals.waits(1), refusals.due()
    (False, [(1, ValueError('forbidden'), False)])
    >>> refusals.add(info, ValueError("forbidden"))
    >>> now = 10.0
    >>> refusals.waits(1), refusals.due()  # for ten seconds now, and it has been said
    (True, [(1, ValueError('forbidden'), True)])
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all: dict[int, _Refusal] = {}

    def add(self, info: RecordingInfo, error: NotAllowed) -> None:
        """Note one."""
        one = self._all.setdefault(info.id, _Refusal(info.ref.namespace))
        one.wait = min(one.wait * 2, _LONGEST_S)
        one.error, one.until, one.tell = error, self._clock() + one.wait, self._clock() + OTHERS_S

    def waits(self, recording: int) -> bool:
        """Tell whether it is left to others now."""
        return recording in self._all and self._clock() < self._all[recording].until

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Of what is left to others now."""
        return tuple(sorted({one.namespace for id_, one in self._all.items() if self.waits(id_)}))

    def again(self, namespace: str) -> None:
        """Leave those of a namespace to others no longer: a right that was missing there has been given."""
        for one in self._all.values():
            if one.namespace == namespace:
                one.wait, one.until, one.tell = _FIRST_S / 2, 0.0, math.inf

    def due(self) -> list[tuple[int, NotAllowed, bool]]:
        """Give what others have had time to take, why it was refused, and whether that has been given before."""
        found = []
        for id_, one in self._all.items():
            if one.error is not None and one.tell <= self._clock():
                found.append((id_, one.error, one.told == str(one.error)))
                one.tell, one.told = math.inf, str(one.error)
        return found

    def keep(self, recordings: AbstractSet[int]) -> None:
        """Forget all others: nobody asks us for them any more."""
        for id_ in self._all.keys() - recordings:
            del self._all[id_]
