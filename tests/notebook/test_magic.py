from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.ipython import shell

from cortex_jupyter.model import Source

if TYPE_CHECKING:
    from support.filled import Filled


@pytest.fixture
def task(filled: Filled) -> None:
    filled.lines([(1, i, f"INFO step {i}") for i in range(100)]).end()


def test_the_magic_returns_the_log_once(task: None) -> None:
    (shown,) = shell("%tasklogs ml:train-1 --since all --tail 5")
    assert shown["value"] == "cortex_jupyter.logs('ml:job/train-1', since='all', tail='5')"
    assert shown["out"].count("cortex_jupyter.logs") == 1


def test_quotes_and_braces_are_parsed_as_meant(task: None) -> None:
    kept, length = shell(r"""log = %tasklogs ml:train-1 --grep "^INFO step \d{2}$" """, "len(log)")
    assert kept["err"] == "" and length["value"] == "90"


def test_roles_ranks_and_attempts(filled: Filled) -> None:
    for rank in range(4):
        source = Source(f"w-{rank}", f"u-{rank}", "main", f"w{rank}", role="worker", rank=str(rank), attempt="1")
        filled.lines([(filled.add(source), rank, f"of {rank}")])
    filled.end()
    cell, texts = shell("log = %tasklogs ml:train-1 --role worker --rank 1-2 --attempt -1", "[r.text for r in log]")
    assert cell["err"] == "" and texts["value"] == "['of 1', 'of 2']"


def test_variables_are_expanded_in_the_name_only(task: None) -> None:
    _, braces, dollar, missing, pattern = shell(
        "name = 'train-1'",
        "%tasklogs ml:{name}",
        "%tasklogs ml:$name",
        "%tasklogs {other}",
        "%tasklogs ml:{name} --grep '{name}'",
    )
    assert braces["value"] == dollar["value"] == "cortex_jupyter.logs('ml:job/train-1')"
    assert "there is no variable 'other'" in missing["err"]
    assert pattern["value"] == "cortex_jupyter.logs('ml:job/train-1', grep='{name}')"


def test_df_stores_a_frame_in_a_variable(task: None) -> None:
    _, frame = shell("log = %tasklogs ml:train-1 --df df --wait", "(len(df), list(df.columns)[:3])")
    assert frame["value"] == "(100, ['time', 'seq', 'namespace'])"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ml:train-1 --nope", "unrecognized arguments: --nope"),
        ("ml:train-1 --since soon", "since='soon' is no duration"),
        ("ml:train-1 --where loss<<3", "where='loss<<3' is no condition on a field"),
        ("ml:train-1 --df 1x", "is not a valid variable name"),
        ("ml:train-1 'x", "No closing quotation"),
        ("ml:train-9", "there is no kubeconfig"),
        ("--height x ml:train-1", "invalid int value"),
        ("", "there is no kubeconfig"),
    ],
)
def test_an_error_is_one_message(task: None, line: str, message: str) -> None:
    (shown,) = shell(f"%tasklogs {line}")
    assert message in shown["err"] and "Traceback" not in shown["err"] + shown["out"]
    assert shown["value"] == "None"
