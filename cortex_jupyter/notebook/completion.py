"""Completion of `%tasklogs`: tasks, options and their values. It reads the cluster and the store in the background."""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from IPython.core.completer import SimpleCompletion, context_matcher

from cortex_jupyter.errors import CortexError
from cortex_jupyter.model import TaskRef
from cortex_jupyter.notebook.runtime import runtime
from cortex_jupyter.parsing.level import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator

    from cortex_jupyter.reader.session import Session

#: A later load of the extension replaces the matcher of this name.
IDENTIFIER: Final = "cortex_jupyter.tasklogs"
#: Age above which something is read again, in the background (seconds).
_FRESH_S: Final = 30.0
#: Maximum wait for something that was never read (seconds). JupyterLab drops completions after one second.
FIRST_WAIT_S = 0.5
#: The line up to the cursor, also of an assignment. IPython's automagic needs no `%`, but `tasklogs = 1` is Python.
_LINE: Final = re.compile(r"\s*(?:(?:[^%]*=\s*)?%)?tasklogs\s+(?!=)(.*)\Z", re.DOTALL)
_VALUES: Final = {
    "--since": ["1m", "5m", "10m", "1h", "all"],
    "--level": [*LEVELS],
    "--stream": ["stdout", "stderr"],
}
#: Options completed with values of the task's sources.
_OF_SOURCES: Final = ("--pod", "--container", "--role", "--rank", "--run", "--attempt")
_SHORT: Final = {"-n": "--namespace", "-l": "--selector"}


class Completer:
    """Completes the line of the magic.

    Parameters
    ----------
    flags : list of str
        The options.
    switches : iterable of str
        The options without a value.
    """

    def __init__(self, flags: list[str], switches: Iterable[str]) -> None:
        self._flags, self._switches = flags, frozenset(switches)
        self._used: dict[str, None] = {}
        self._tasks: dict[str, list[str]] = {}
        self._sources: dict[str, dict[str, list[str]]] = {}
        self._read_at: dict[tuple[str, str], float] = {}

    def learn(self, tasks: Iterable[str]) -> None:
        """Remember tasks (their keys) that were listed or opened."""
        self._used |= dict.fromkeys(tasks)

    @context_matcher(identifier=IDENTIFIER)  # type: ignore[untyped-decorator]
    def matches(self, context: Any) -> dict[str, Any]:
        """Return the completions at the cursor, as a matcher of IPython's completer."""
        line = _LINE.match(context.text_until_cursor)
        fragment, completions = self._complete(line[1]) if line else ("", [])
        return {
            "completions": [SimpleCompletion(text=text, type=kind) for text, kind in dict(completions).items()],
            "matched_fragment": fragment,
            "ordered": True,
            "suppress": True,  # also Jedi, which would add Python's keywords
        }

    def _complete(self, line: str) -> tuple[str, list[tuple[str, str]]]:
        """Return the part of the line to replace, and what may replace it with its type."""
        *words, word = re.split(r"\s+", line)
        option = self._option(words[-1]) if words else ""
        if not option and word.startswith("--") and "=" in word:
            option, _, word = word.partition("=")
        if option:
            word = word.rpartition(",")[2] if option in _OF_SOURCES else word
            return word, [(v, "value") for v in self._values(option, words) if v.startswith(word)]
        flags = [(flag, "option") for flag in self._flags if flag.startswith(word)]
        if word.startswith("-") or self._task_of(words):
            return word, flags
        return word, [(key, "task") for key in self._tasks_like(word, self._namespace_of(words))] + flags

    def _option(self, word: str) -> str:
        """Return the option whose value comes after this word, else an empty string."""
        word = _SHORT.get(word, word)
        return word if word in self._flags and word not in self._switches else ""

    def _task_of(self, words: list[str]) -> str:
        """Return the task on the line: the first word that is neither an option nor its value."""
        pairs = zip(words, ["", *words], strict=False)
        return next((word for word, before in pairs if word and word[0] != "-" and not self._option(before)), "")

    def _namespace_of(self, words: list[str]) -> str:
        return next((after for word, after in pairwise(words) if word in ("-n", "--namespace")), "")

    def _values(self, option: str, words: list[str]) -> list[str]:
        if option == "--namespace":
            self._read_tasks("")
            return list(dict.fromkeys(key.partition(":")[0] for key in self._known_tasks()))
        if option not in _OF_SOURCES:
            return _VALUES.get(option, [])
        task, namespace = self._task_of(words), self._namespace_of(words)
        if not task:
            return []
        source_key = f"{namespace} {task}"
        self._read(("sources", source_key), lambda: self._read_sources(source_key, task, namespace))
        return self._sources.get(source_key, {}).get(option[2:], [])

    def _known_tasks(self) -> Iterator[str]:
        for keys in (*self._tasks.values(), self._used):
            yield from list(keys)  # a thread that lists tasks may add some meanwhile

    def _tasks_like(self, word: str, namespace: str) -> Iterator[str]:
        """Yield the keys of the tasks whose key, name or kind and name begins with a word."""
        typed, colon, _ = word.partition(":")
        self._read_tasks(namespace or (typed if colon else ""))
        for key in self._known_tasks():
            space, _, named = key.partition(":")
            name = named.partition("/")[2]
            if not namespace or space == namespace:
                forms = (key, named, name, f"{space}:{name}")
                if any(form.startswith(word) for form in forms):
                    yield key

    def _read_tasks(self, namespace: str) -> None:
        self._read(("tasks", namespace), lambda: self._list_tasks(namespace))

    def _read(self, key: tuple[str, str], read: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Read something in the background if it is old. Wait a moment if it was never read."""
        last = self._read_at.get(key)
        if last is not None and time.monotonic() - last < _FRESH_S:
            return
        self._read_at[key] = time.monotonic()
        future = runtime().submit(read())
        if last is None:
            with contextlib.suppress(concurrent.futures.TimeoutError, CortexError):
                future.result(FIRST_WAIT_S)

    async def _list_tasks(self, namespace: str) -> None:
        from cortex_jupyter.reader.task_list import list_tasks  # heavy

        session = await runtime().recordings()
        self.learn(info.ref.key for info in session.store.recordings())
        rows, _ = await list_tasks(session, namespace or session.namespace)
        self._tasks[namespace] = [row["task"] for row in rows]

    async def _read_sources(self, key: str, task: str, namespace: str) -> None:
        session = await runtime().recordings()
        self._sources[key] = await _values_of_sources(session, TaskRef.parse(task, namespace or session.namespace))


async def _values_of_sources(session: Session, ref: TaskRef) -> dict[str, list[str]]:
    """Return what the sources of a task have: pods, containers, roles, ranks, runs and attempts."""
    from cortex_jupyter.reader.task_list import describe_task  # heavy

    values: dict[str, dict[str, None]] = {option[2:]: {} for option in _OF_SOURCES}
    with contextlib.suppress(CortexError):
        for pod in (await describe_task(session, ref))["pods"]:
            values["pod"][pod["name"]] = None
            values["container"] |= {container["name"]: None for container in pod["containers"]}
    store, info = await session.where(ref)
    for source, _ in store.sources(info.id).values() if info is not None else ():
        for name, of in values.items():
            of |= {value: None for value in (str(getattr(source, name)),) if value}
    return {name: list(of) if name == "pod" else sorted(of, key=_natural) for name, of in values.items()}


def _natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in a text by value.

    Examples
    --------
    >>> sorted(["10", "9", "1-2", "ps"], key=_natural)
    ['1-2', '9', '10', 'ps']
    """
    return [(int(part), "") if part.isdecimal() else (1 << 62, part) for part in re.split(r"(\d+)", text) if part]
