import prometheus_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from topicserve.worker.telemetry import quick_metrics

BUCKETS = (0.0, 0.5, 1.0, 2.5)
NAMES = st.sampled_from(["a", "b", "c"])
AMOUNTS = st.one_of(st.sampled_from(BUCKETS), st.floats(-1e6, 1e6))
MODULES = (prometheus_client, quick_metrics)


@given(st.lists(st.tuples(NAMES, NAMES, AMOUNTS), max_size=20))
def test_what_is_exposed_is_the_librarys(seen: list[tuple[str, str, float]]) -> None:
    """Counts, sums and buckets, those at a bound too, whichever way labels are given."""
    exposed = []
    for module in MODULES:
        registry = CollectorRegistry()
        counter = module.Counter("seen", "Help.", ["one", "other"], registry=registry)
        histogram = module.Histogram(
            "amounts", "Help.", ["one"], buckets=BUCKETS, registry=registry
        )
        for one, other, amount in seen:
            counter.labels(one, other).inc(abs(amount))
            counter.labels(other=other, one=one).inc()
            histogram.labels(one).observe(amount)
        text = generate_latest(registry).decode()
        exposed.append([line for line in text.splitlines() if "_created" not in line])

    assert exposed[0] == exposed[1]


def test_a_removed_child_begins_at_zero() -> None:
    """And what is not shown any more is not counted on."""
    registry = CollectorRegistry()
    counter = quick_metrics.Counter("seen", "Help.", ["one"], registry=registry)
    counter.labels("a").inc(5)

    counter.remove("a")
    counter.labels("a").inc()

    assert registry.get_sample_value("seen_total", {"one": "a"}) == 1
