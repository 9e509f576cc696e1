"""A Prometheus histogram that takes a whole column at once: one event at a time would cost more than deciding it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import REGISTRY, Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString


class BulkHistogram(Collector):
    """Counts of values per bucket and label; `bounds` are the upper bounds, ascending, without the infinite one."""

    def __init__(
        self, name: str, help_text: str, label: str, bounds: Sequence[float], registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._name, self._help, self._label = name, help_text, label
        self._bounds: Final = np.array(bounds, np.float64)
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._sums: dict[str, float] = {}
        self._lock = threading.Lock()
        registry.register(self)

    def observe(self, label: str, values: NDArray[np.float64]) -> None:
        """Count every value of an array of any shape under `label`."""
        slots = np.searchsorted(self._bounds, values.ravel(), side="left")
        counts = np.bincount(slots, minlength=len(self._bounds) + 1)
        with self._lock:
            self._counts[label] = self._counts.get(label, 0) + counts
            self._sums[label] = self._sums.get(label, 0.0) + float(values.sum())

    def describe(self) -> Iterator[Metric]:
        """The metric without samples: what the registry asks at registration."""
        yield HistogramMetricFamily(self._name, self._help, labels=[self._label])

    def collect(self) -> Iterator[Metric]:
        """The metric as Prometheus reads it: cumulative counts per upper bound, and the sum."""
        family = HistogramMetricFamily(self._name, self._help, labels=[self._label])
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        with self._lock:
            for label, counts in self._counts.items():
                buckets = list(zip(names, np.cumsum(counts).astype(float).tolist(), strict=True))
                family.add_metric([label], buckets, self._sums[label])
        yield family
