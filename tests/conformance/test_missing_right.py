"""A user who may not read logs learns which right is missing, and gets the lines as soon as it is granted."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from server.running import logs, records, run_server
from support.jupyter import Home
from support.kube import python_job
from support.limited import Limited, limited_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Target

pytestmark = pytest.mark.cluster

MISSING = "the right `get pods/log` is missing"


@pytest.fixture
def user(target: Target, unique: Callable[[str], str], tmp_path: Path) -> Iterator[Limited]:
    """Return a user without `get pods/log`, in a namespace with the ended Job `done`."""
    with limited_user(target, unique("right"), tmp_path) as user:
        target.kube.create(python_job("done", "print('one'); print('two')", namespace=user.namespace))
        target.kube.wait_job("done", namespace=user.namespace)
        user.deny("pods/log")
        yield user


@pytest.fixture
def home(user: Limited, tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path, user.kubeconfig)
    yield home
    home.end()


def test_the_command_line_names_the_missing_right(home: Home, user: Limited) -> None:
    result = home.run("cortex-jupyter", "logs", "done", timeout=30)
    assert result.returncode == 1 and not result.stdout
    assert MISSING in result.stderr and user.namespace in result.stderr


def test_a_follow_names_the_missing_right_and_continues_when_it_is_granted(home: Home, user: Limited) -> None:
    process = subprocess.Popen(
        ["cortex-jupyter", "logs", "done", "-f"], env=home.env, stdout=-1, stderr=-1, text=True, cwd=home.path
    )
    try:
        assert process.stderr is not None
        assert MISSING in process.stderr.readline()
        user.deny()
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (out.splitlines(), process.returncode) == (["one", "two"], 0), err


PYTHON = f"""
import time, cortex_jupyter as cortex
log = cortex.logs("done")
start = time.monotonic()
for read in (lambda: log.complete, lambda: list(log), lambda: len(log)):
    try:
        print("no error", read())
    except cortex.errors.NotAllowed as error:
        assert {MISSING!r} in error.message, error
print(log.status.reason, round(time.monotonic() - start, 3), log.status.message)
print(log._repr_mimebundle_()["text/plain"])
"""


def test_python_raises_an_error_with_the_missing_right(home: Home) -> None:
    first, _ = home.python(PYTHON).splitlines()
    reason, seconds, message = first.split(" ", 2)
    assert reason == "NotAllowed" and MISSING in message
    assert float(seconds) < 10  # earlier versions waited for ever


async def test_a_page_shows_the_missing_right_and_continues_when_it_is_granted(home: Home, user: Limited) -> None:
    with run_server(home.path, kubeconfig=user.kubeconfig) as server:
        path = logs("done", namespace=user.namespace)
        code, error = await asyncio.to_thread(server.error, path)
        assert (code, error["code"]) == (403, "NotAllowed") and MISSING in error["message"]
        events = []
        async with server.stream(path, {"Accept": "text/event-stream"}) as source:
            async for event in source.aiter_sse():
                events.append(event)
                doc = json.loads(event.data)
                if len(events) == 1:
                    assert MISSING in doc["message"] and doc["state"] == "succeeded"
                    await asyncio.to_thread(user.deny)
        assert [text for _, text in records(events)] == ["one", "two"]
        assert events[-1].event == "end"
        assert MISSING not in json.loads(events[-1].data)["message"], (
            "the last message still names the right that was missing before"
        )
