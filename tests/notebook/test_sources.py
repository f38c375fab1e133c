"""Filters for pods, containers and runs in Python, with the same table as the server and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.sources import CASES, SOURCES

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
    with pytest.raises(ContainerNotFound, match="no run '9'"):
        cortex.logs("ml:train-1", run=9)
