from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from topicserve.worker.bulk_histogram import BulkHistogram

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
