"""What README and docs name is there: commands and their options, extras, variables, targets, parameters, members of a log."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from cortex_jupyter import TaskLog
from cortex_jupyter.cli.main import parser
from cortex_jupyter.recording.__main__ import parser as recorder
from cortex_jupyter.server.app import CortexJupyter
from cortex_jupyter.server.openapi import document

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TEXTS = README + "".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.replace("\\\n", "").splitlines()
    if line.startswith("cortex-jupyter ")
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_is_understood(command: list[str]) -> None:
    if "|" in command:
        command = command[: command.index("|")]
    if command[0] == "record":
        recorder().parse_args(command[1:])
    else:
        parser().parse_args(command)


def test_extras_and_targets_are_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {extra for found in re.findall(r"cortex-jupyter\[([a-z,]+)\]", TEXTS) for extra in found.split(",")}
    assert named and named <= extras.keys()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", TEXTS, re.MULTILINE)) <= targets


def test_variables_and_settings_are_read_somewhere() -> None:
    rooms = (ROOT / "cortex_jupyter", ROOT / "tests")  # some are for who tests
    sources = "".join(path.read_text() for room in rooms for path in room.rglob("*.py"))
    assert not [
        name for name in set(re.findall(r"CORTEX_[A-Z_]+[A-Z]", TEXTS)) if not re.search(rf"\b{name}\b", sources)
    ]
    traits = CortexJupyter.class_trait_names(config=True)
    named = re.findall(r"CortexJupyter\.([a-z_]+)|`((?:access|store|max)_[a-z_]+)[=`]", TEXTS)
    assert not {one or other for one, other in named} - {*traits}


def test_the_query_of_logs_is_what_is_served() -> None:
    (listed,) = re.findall(r"The query is the same everywhere: (.*?)\.\n", README, re.DOTALL)
    logs = document()["paths"]["/tasks/{namespace}/{kind}/{name}/logs"]["get"]["parameters"]
    assert set(re.findall(r"`(\w+)`", listed)) <= {parameter["name"] for parameter in logs}


def test_a_log_has_what_is_told_of_it() -> None:
    assert not [name for name in set(re.findall(r"(?<![.\w])log\.(\w+)", README)) if not hasattr(TaskLog, name)]
