"""What the Prometheus metrics of recorders and servers share: their prefix, their buckets, our version, and their old names.

Every name begins with `cortex_jupyter_`. Version 0.1 also serves each metric under the name that it had before, with
`cortex_` alone, which is the prefix of Grafana Mimir's predecessor Cortex. Delete `_OldNames` in the release after it.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY, Gauge
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from cortex_jupyter._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.metrics import MetricWrapperBase

PREFIX: Final = "cortex_jupyter_"
#: Histogram buckets in seconds, from a commit to an outage.
BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

BUILD_INFO: Final = Gauge(
    "cortex_jupyter_build_info", "Always 1; its labels have the version of this process", ["version", "python"]
)
BUILD_INFO.labels(__version__, platform.python_version()).set(1)


class _OldNames(Collector):
    """Serves metrics under their old names too."""

    def __init__(self) -> None:
        self._metrics: list[MetricWrapperBase] = []

    def add(self, metrics: Iterable[MetricWrapperBase]) -> None:
        self._metrics += metrics

    def collect(self) -> Iterator[Metric]:
        for metric in self._metrics:
            for family in metric.collect():
                old = Metric(_old_name(family.name), f"Old name of {family.name}", family.type)
                old.samples = [sample._replace(name=_old_name(sample.name)) for sample in family.samples]
                yield old

    def describe(self) -> list[Metric]:
        return []  # else the registry would collect all values when this is registered


def _old_name(name: str) -> str:
    return name.replace(PREFIX, "cortex_", 1)


_OLD_NAMES: Final = _OldNames()
REGISTRY.register(_OLD_NAMES)


def keep_old_names(*metrics: MetricWrapperBase) -> None:
    """Serve these metrics under their old names too."""
    _OLD_NAMES.add(metrics)
