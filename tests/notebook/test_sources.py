"""Filters for pods, containers and runs in Python, with the same table as the server and the page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.sources import CASES, MEMBER_CASES, MEMBERS, SOURCES

import cortex_jupyter as cortex
from cortex_jupyter.errors import ContainerNotFound
from cortex_jupyter.model import Source

if TYPE_CHECKING:
    from support.filled import Filled

    from cortex_jupyter.notebook.runtime import Runtime


# The tests write recordings without a cluster.
pytestmark = pytest.mark.filterwarnings("ignore:The cluster cannot be asked")


def test_the_table_of_sources_holds_for_a_log(filled: Filled, engine: Runtime) -> None:
    for i, (pod, container, run) in enumerate(SOURCES):
        source = Source(pod, f"uid-{pod}", container, f"c-{i}", "main", run)
        sid = filled.store.add_source(filled.lease, source)
        filled.sources[sid] = source
        filled.lines([(sid, i, f"line {i}")])
    log = cortex.logs("ml:train-1")
    for values, kept in CASES:
        texts = [f"line {i}" for i in kept]
        chosen = log.filter(**values)
        assert [record.text for record in chosen] == texts, values
        assert chosen.to_arrow()["text"].to_pylist() == texts, values
    filled.end()
    assert [record.text for record in log.filter(run=-2, pod="train-0").follow()] == ["line 1"]
    assert repr(cortex.logs("ml:train-1", run=-1)) == "cortex_jupyter.logs('ml:job/train-1', run=-1)"
    for query in ({"run": 9}, {"pod": "train-9"}, {"container": "nginx"}):
        for narrow in (log.filter, partial(cortex.logs, "ml:train-1")):
            with pytest.raises(ContainerNotFound, match=f"no {next(iter(query))} '"):
                narrow(**query)


def test_the_table_of_roles_ranks_and_attempts_holds_for_a_log(filled: Filled, engine: Runtime) -> None:
    for i, (role, rank, attempt) in enumerate(MEMBERS):
        source = Source(f"p-{i}", f"uid-{i}", "main", f"c-{i}", role=role, rank=rank, attempt=attempt)
        filled.lines([(filled.add(source), i, f"line {i}")])
    log = cortex.logs("ml:train-1")
    for values, lines in MEMBER_CASES:
        texts = [f"line {i}" for i in lines]
        chosen = log.filter(**values)
        assert [record.text for record in chosen] == texts, values
        assert chosen.to_arrow()["text"].to_pylist() == texts, values
    assert [(record.role, record.rank, record.attempt) for record in log] == MEMBERS
    frame = log.to_pandas()
    assert list(zip(frame["role"], frame["rank"], frame["attempt"], strict=True)) == MEMBERS
    filled.end()
    assert [record.text for record in log.filter(role="worker", rank=0, attempt=-1).follow()] == ["line 2"]
    for query, message, hint in (
        ({"role": "driver"}, "no role 'driver'", "it has launcher, ps, worker"),
        ({"rank": 7}, "no rank '7'", "its ranks are 0, 0-3, 1, 2-0, 2-3, 12"),
        ({"attempt": 5}, "no attempt '5'", "its attempts are 0, 1"),
    ):
        for narrow in (log.filter, partial(cortex.logs, "ml:train-1")):
            with pytest.raises(ContainerNotFound, match=message) as error:
                narrow(**query)
            assert error.value.hint == hint
