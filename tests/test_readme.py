"""Everything that README and docs name exists.

That is commands, options, extras, variables, settings, parameters, targets, members, links and source files.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from itertools import chain, takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cortex_jupyter import TaskLog
from cortex_jupyter.cli.command_line import parser
from cortex_jupyter.query.language import NAMES
from cortex_jupyter.recorder.__main__ import parser as recorder
from cortex_jupyter.server.app import CortexJupyter
from cortex_jupyter.server.limits import Limits
from cortex_jupyter.server.openapi import document

if TYPE_CHECKING:
    from argparse import ArgumentParser

ROOT = Path(__file__).parents[1]
DOCS = sorted(path for path in (ROOT / "docs").rglob("*.md") if "api" not in path.relative_to(ROOT).parts)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
TEXTS = "".join(path.read_text() for path in PAGES)
REFERENCE = ROOT / "docs" / "reference"
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for block in re.findall(r"```bash\n(.*?)```", TEXTS, re.DOTALL)
    for line in block.replace("\\\n", "").splitlines()
    if line.startswith("cortex-jupyter ")
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_documented_command_is_valid(command: list[str]) -> None:
    command = list(takewhile(lambda word: word not in ("|", ">"), command))
    if command[0] == "record":
        recorder().parse_args(command[1:])
    else:
        parser().parse_args(command)


def options(of: ArgumentParser) -> set[str]:
    """Return the long options of a command and its subcommands that its help shows."""
    below = (
        chain.from_iterable((action.choices or {}).values() for action in of._subparsers._group_actions)
        if of._subparsers
        else ()
    )
    own = {name for action in of._actions if action.help != "==SUPPRESS==" for name in action.option_strings}
    return {name for name in own if name.startswith("--")}.union(*map(options, below)) - {"--help"}


def test_every_option_is_documented_and_every_documented_one_exists() -> None:
    page = (REFERENCE / "command-line.md").read_text()
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page)) - {"--help"}
    assert named == options(parser()) | options(recorder())


def test_documented_extras_and_targets_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        extra
        for found in re.findall(r"(?:cortex-jupyter|\.whl\))?\[([a-z,]+)\]\"", TEXTS)
        for extra in found.split(",")
    }
    assert named and named <= extras.keys()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", TEXTS, re.MULTILINE)) <= targets


def test_documented_variables_and_settings_are_used() -> None:
    rooms = (ROOT / "cortex_jupyter", ROOT / "tests")  # some are for the tests only
    sources = "".join(path.read_text() for room in rooms for path in room.rglob("*.py"))
    assert not [
        name for name in set(re.findall(r"CORTEX_[A-Z_]+[A-Z]", TEXTS)) if not re.search(rf"\b{name}\b", sources)
    ]
    traits = CortexJupyter.class_trait_names(config=True)
    named = re.findall(r"CortexJupyter\.([a-z_]+)|`((?:access|store|max)_[a-z_]+)[=`]", TEXTS)
    assert not {one or other for one, other in named} - {*traits}


def test_every_setting_is_in_the_reference() -> None:
    page = (REFERENCE / "settings.md").read_text()
    package = "".join(path.read_text() for path in (ROOT / "cortex_jupyter").rglob("*.py"))
    read = set(re.findall(r"\"(CORTEX_[A-Z_]+[A-Z])\"", package)) | {"CORTEX_STORE_MAX_BYTES", "CORTEX_STORE_MAX_AGE"}
    assert not [name for name in read if f"`{name}`" not in page]
    traits = {*CortexJupyter.class_own_traits(config=True)} - {*Limits.class_own_traits(config=True)}
    assert not [name for name in traits if f"`{name}`" not in page]


def test_the_documented_query_parameters_are_those_of_the_server() -> None:
    page = (REFERENCE / "tasks-and-queries.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", page.partition("## Parameters")[2].partition("\n## ")[0], re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    logs = document()["paths"]["/tasks/{namespace}/{kind}/{name}/logs"]["get"]["parameters"]
    assert listed == {*NAMES} and listed <= {parameter["name"] for parameter in logs}


def test_documented_members_of_a_log_exist() -> None:
    assert not [name for name in set(re.findall(r"(?<![-.\w])log\.(\w+)", TEXTS)) if not hasattr(TaskLog, name)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_has_a_target(page: Path) -> None:
    links = re.findall(
        r"\]\(([^)\s]+)\)|src(?:set)?=\"([^\"]+)\"", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    )
    for link in (one or other for one, other in links):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_named_source_file_exists() -> None:
    """A renamed file must not leave its old name in CONTRIBUTING or the architecture."""
    roots = (ROOT, ROOT / "cortex_jupyter", ROOT / "js" / "src")
    names = set(re.findall(r"`((?:\w+/)+\w+\.(?:py|ts))`", TEXTS))
    assert names
    assert not [name for name in names if not any((root / name).exists() for root in roots)]


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert not [
        page for page in DOCS if page.name != "README.md" and f"({page.relative_to(ROOT / 'docs')})" not in index
    ]
