"""What the doctor says, and how long it waits for an answer."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import CortexError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

OK: Final = "ok"
#: It works, but not as well as it could, or not for long.
WARN: Final = "warn"
#: Logs cannot be read, recorded or archived as it is set up.
BAD: Final = "bad"
TOLD: Final = "told"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Parameters
    ----------
    part : str
        Of the installation: `cluster`, `store`, `recorder`, `archive`, `jupyter`, `packages`.
    judged : str
        `OK`, `WARN`, `BAD`, or `TOLD` for what is none of them.
    text : str
    todo : str
        What to do about it.
    details : tuple of str
        Lines that belong to it.
    """

    part: str
    judged: str
    text: str
    todo: str = ""
    details: tuple[str, ...] = ()


def failed(part: str, error: CortexError) -> Finding:
    """Give the finding that an error is."""
    return Finding(part, BAD, error.message, error.hint)


async def within(seconds: float, part: str, found: Awaitable[Iterable[Finding]], late: str) -> list[Finding]:
    """Give what a part of the examination finds, or that it found nothing in time; it never raises.

    Parameters
    ----------
    seconds : float
    part : str
    found : awaitable
    late : str
        What to do where there is no answer.
    """
    try:
        async with asyncio.timeout(seconds):
            return list(await found)
    except TimeoutError:
        return [Finding(part, BAD, f"there is no answer within {seconds:g} s", late)]
    except CortexError as error:
        return [failed(part, error)]
    except Exception as error:  # noqa: BLE001 - the other findings count all the more
        text = f"it cannot be looked at: {type(error).__name__}: {error}"
        return [Finding(part, BAD, text, "this is a bug of cortex-jupyter: report it")]


async def aside(look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Look in a thread that does not keep the program from ending: what hangs there may hang for minutes."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[list[Finding]] = loop.create_future()

    def tell(found: list[Finding] | None, error: Exception | None) -> None:
        if done.done():
            return  # nobody waits any more
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(found or [])

    def run() -> None:
        found, error = None, None
        try:
            found = list(look())
        except Exception as raised:  # noqa: BLE001 - it is raised where it is waited for
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, found, error)

    threading.Thread(target=run, name="cortex-doctor", daemon=True).start()
    return await done
