"""The doctor's findings, and checks with a timeout."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cortex_jupyter.errors import CortexError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

OK: Final = "ok"
#: It works, but not as well as it could, or not much longer.
WARN: Final = "warn"
#: With this set-up, logs cannot be read, recorded or archived.
BAD: Final = "bad"
#: Information.
TOLD: Final = "told"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Parameters
    ----------
    part : str
        Part of the installation: `cluster`, `store`, `recorder`, `archive`, `jupyter`, `packages`.
    judged : str
        `OK`, `WARN`, `BAD` or `TOLD`.
    text : str
    todo : str
        What to do about it.
    details : tuple of str
        Further lines.
    """

    part: str
    judged: str
    text: str
    todo: str = ""
    details: tuple[str, ...] = ()


def failed(part: str, error: CortexError) -> Finding:
    """Return an error as a finding."""
    return Finding(part, BAD, error.message, error.hint)


async def within(seconds: float, part: str, check: Awaitable[Iterable[Finding]], late: str) -> list[Finding]:
    """Return the findings of a check. A timeout or an error becomes a finding too.

    Parameters
    ----------
    seconds : float
        Timeout.
    part : str
    check : awaitable
    late : str
        What to do after a timeout.
    """
    try:
        async with asyncio.timeout(seconds):
            return list(await check)
    except TimeoutError:
        return [Finding(part, BAD, f"no answer within {seconds:g} s", late)]
    except CortexError as error:
        return [failed(part, error)]
    except Exception as error:  # noqa: BLE001 - the other checks must go on
        text = f"cannot check it: {type(error).__name__}: {error}"
        return [Finding(part, BAD, text, "this is a bug of cortex-jupyter: report it")]


async def aside(check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Run a check in a daemon thread, which does not delay the program's end if the check hangs."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[list[Finding]] = loop.create_future()

    def finish(findings: list[Finding] | None, error: Exception | None) -> None:
        if done.done():
            return  # the timeout was faster
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(findings or [])

    def run() -> None:
        findings, error = None, None
        try:
            findings = list(check())
        except Exception as raised:  # noqa: BLE001 - raised again in the waiting coroutine
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish, findings, error)

    threading.Thread(target=run, name="cortex-doctor", daemon=True).start()
    return await done
