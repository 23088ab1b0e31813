import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from topicserve.wire.headers import ServableSpec
from topicserve.worker.config.served import CanaryConfig, ServedConfig
from topicserve.worker.stages.request import Route
from topicserve.worker.stages.routing import Router, UnknownServableError, share_of
from topicserve.worker.telemetry.metrics import WorkerMetrics

ID = "4a7c9be0-51c8-4b61-a7a4-0e4f0b9ba7d1"


def a_router(
    *names: str,
    default: str = "",
    canary: CanaryConfig | None = None,
    registry: CollectorRegistry | None = None,
) -> Router:
    """Return a router over servables of these names, the first with a canary."""
    served = [
        ServedConfig(name, "/models", canary=canary if name == names[0] else None) for name in names
    ]
    metrics = WorkerMetrics(registry or CollectorRegistry())
    return Router(served, lambda: names, default, metrics)


def test_a_record_gets_what_it_asks_for() -> None:
    """Servable, version or label, and signature; the default signature where it names none."""
    router = a_router("digits", "words")

    assert router.route(ServableSpec("words", 3, None, "classify"), ID) == Route(
        "words", 3, None, "classify"
    )
    assert router.route(ServableSpec("digits", None, "stable"), ID) == Route(
        "digits", None, "stable", "serving_default"
    )


def test_who_names_none_gets_the_only_one_or_the_default() -> None:
    """Where there are several and no default, the record is at fault."""
    assert a_router("digits").route(ServableSpec(), ID).servable == "digits"
    assert (
        a_router("digits", "words", default="words").route(ServableSpec(), ID).servable == "words"
    )
    with pytest.raises(UnknownServableError, match=r"is missing.*served: digits, words"):
        a_router("digits", "words").route(ServableSpec(), ID)


def test_a_servable_that_is_not_served_is_the_records_fault() -> None:
    """The message says what is served."""
    with pytest.raises(UnknownServableError, match=r"'other'.*not served here; served: digits"):
        a_router("digits").route(ServableSpec("other"), ID)


def test_equal_targets_get_one_route_however_many_there_are() -> None:
    """Bodies that name their signature have a target of their own each; routes stay right."""
    router = a_router("digits", "words")
    kept = [ServableSpec("words"), ServableSpec("digits")]

    for number in range(5000):
        name = ("digits", "words")[number % 2]
        assert router.route(ServableSpec(name, 7), ID) == Route(name, 7, None, "serving_default")
        assert [router.route(target, ID).servable for target in kept] == ["words", "digits"]


def test_routes_follow_what_is_configured() -> None:
    """A route that was found before is no route once its servable is removed."""
    names = ["digits", "words"]
    router = Router([], lambda: names, "", WorkerMetrics(CollectorRegistry()))
    asked = ServableSpec("digits")
    router.route(asked, ID)

    names.remove("digits")
    router.follow()

    with pytest.raises(UnknownServableError, match=r"'digits'.*served: words"):
        router.route(asked, ID)
    assert router.route(ServableSpec(), ID).servable == "words", "the only one by now"


@given(st.lists(st.uuids(), min_size=200, max_size=200, unique=True))
def test_a_canary_takes_its_share_and_keeps_it(ids: list[object]) -> None:
    """By record id: the same id goes the same way again, and a larger share keeps the smaller's."""
    record_ids = [str(one) for one in ids]

    def taken(share: float) -> set[str]:
        router = a_router("digits", canary=CanaryConfig(share, version=2))
        return {one for one in record_ids if router.route(ServableSpec(), one).version == 2}

    small, large = taken(0.1), taken(0.5)

    assert small == {record_id for record_id in record_ids if share_of(record_id) < 0.1}
    assert small <= large


def test_a_canary_leaves_alone_who_asks_for_a_version() -> None:
    """And what it takes is counted."""
    registry = CollectorRegistry()
    router = a_router("digits", canary=CanaryConfig(1.0, label="next"), registry=registry)

    assert router.route(ServableSpec("digits", 1), ID).version == 1
    assert router.route(ServableSpec("digits"), ID).label == "next"

    labels = {"servable": "digits"}
    assert registry.get_sample_value("topicserve_canary_records_total", labels) == 1
