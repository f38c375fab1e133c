"""A new user with a Jupyter server on the cluster under test, and Jobs that are deleted after the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.jupyter import Home, Jupyter, jupyter
from support.kube import python_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, target: Any) -> Iterator[Home]:
    home = Home(tmp_path, target.kube.kubeconfig)
    yield home
    home.end()


@pytest.fixture
def server(home: Home) -> Iterator[Jupyter]:
    with jupyter(home) as server:
        yield server


@pytest.fixture
def job(target: Any, unique: Callable[[str], str]) -> Iterator[Callable[..., str]]:
    """Return a function that creates a Job, which is deleted after the test."""
    made: list[str] = []

    def create(program: str, **options: Any) -> str:
        name = unique("e2e")
        target.kube.create(python_job(name, program, **options))
        made.append(name)
        return name

    yield create
    for name in made:
        target.kube.delete("jobs", name)
