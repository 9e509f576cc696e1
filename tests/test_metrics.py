"""Metrics have unique names, and a column of values counts as if each had been observed alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from connectors import metrics
from connectors.bulk_histogram import BulkHistogram

BOUNDS = (0.1, 0.5, 2.0)


@given(st.lists(st.lists(st.floats(0, 10) | st.sampled_from(BOUNDS), max_size=20), min_size=1, max_size=4))
@settings(max_examples=50)
def test_a_column_counts_as_its_values_would_one_by_one(columns: list[list[float]]) -> None:
    bulk_registry, plain_registry = CollectorRegistry(), CollectorRegistry()
    bulk = BulkHistogram("age", "Age", "topic", BOUNDS, bulk_registry)
    plain = Histogram("age", "Age", ["topic"], buckets=BOUNDS, registry=plain_registry)
    child = plain.labels("a")
    for column in columns:
        bulk.observe("a", np.array(column, np.float64))
        for value in column:
            child.observe(value)
    assert _counts(bulk_registry) == _counts(plain_registry)
    total = bulk_registry.get_sample_value("age_sum", {"topic": "a"})
    assert total is not None
    assert abs(total - sum(map(sum, columns))) < 1e-9 * (1 + total)


def test_every_metric_is_served_under_the_product_s_name() -> None:
    metrics.LATENCY_SECONDS.observe("kaizen.events", np.array([0.004, 0.2]))
    ours = {
        family.name for family in text_string_to_metric_families(generate_latest().decode()) if "cogni" in family.name
    }
    assert {"cognistream_events_in", "cognistream_lag", "cognistream_latency_seconds"} <= ours
    assert all(name.startswith("cognistream_") for name in ours)


def _counts(registry: CollectorRegistry) -> dict[str, float]:
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {s.labels["le"]: s.value for family in families for s in family.samples if s.name == "age_bucket"}
