import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from topicserve.worker.telemetry.bulk_histogram import BulkHistogram

BUCKETS = (0.5, 1.0, 2.5)


@given(st.lists(st.tuples(st.sampled_from([0.25, 0.5, 0.75, 1.0, 2.5, 7.0]), st.integers(1, 9))))
def test_reads_like_prometheus_own(observations: list[tuple[float, int]]) -> None:
    """Scraped, it cannot be told from a histogram that observed one by one."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    bulk = BulkHistogram("wait_seconds", "Waits.", BUCKETS, ours)
    single = Histogram("wait_seconds", "Waits.", buckets=BUCKETS, registry=theirs)

    for value, count in observations:
        bulk.observe(value, count)
        for _ in range(count):
            single.observe(value)

    scraped = generate_latest(theirs).decode()
    without_created = [line for line in scraped.splitlines() if "_created" not in line]
    assert generate_latest(ours).decode().splitlines() == without_created


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 2.5, 7.0])))
def test_many_values_at_once_count_as_one_by_one(values: list[float]) -> None:
    """Each in its bucket, bounds included, and the sum of all."""
    together, single = CollectorRegistry(), CollectorRegistry()
    BulkHistogram("wait_seconds", "Waits.", BUCKETS, together).observe_each(np.array(values))
    one_by_one = BulkHistogram("wait_seconds", "Waits.", BUCKETS, single)

    for value in values:
        one_by_one.observe(value)

    assert generate_latest(together) == generate_latest(single)
