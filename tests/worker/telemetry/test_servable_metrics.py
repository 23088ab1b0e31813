import pytest
from prometheus_client import CollectorRegistry

from topicserve.servables.core.concurrency.event_bus import EventBus
from topicserve.servables.core.errors import DataLossError
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.worker.telemetry.servable_metrics import ServableMetrics


class Followed:
    """A bus whose events are counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._bus: EventBus[ServableState] = EventBus()
        ServableMetrics(self.registry).subscribe(self._bus)

    def tell(
        self,
        version: int,
        state: ManagerState,
        seconds: float | None = None,
        error: DataLossError | None = None,
    ) -> None:
        self._bus.publish(ServableState(ServableId("m", version), state, error, seconds=seconds))

    def states(self) -> dict[str, str]:
        """Return the state of each version that has one, and that it is the only one."""
        found: dict[str, str] = {}
        for family in self.registry.collect():
            if family.name == "topicserve_servable_state":
                for sample in family.samples:
                    assert sample.value == 1
                    assert sample.labels["version"] not in found
                    found[sample.labels["version"]] = sample.labels["state"]
        return found

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"topicserve_{name}", {"servable": "m", **labels})


@pytest.fixture
def followed() -> Followed:
    """Return metrics that follow a bus."""
    return Followed()


def test_a_version_has_one_state_at_a_time(followed: Followed) -> None:
    """The series of the state before is gone."""
    followed.tell(1, ManagerState.AVAILABLE)
    followed.tell(2, ManagerState.START)
    followed.tell(2, ManagerState.LOADING)

    assert followed.states() == {"1": "AVAILABLE", "2": "LOADING"}
    assert followed.value("servable_transitions_total", state="LOADING") == 1


def test_loads_and_unloads_are_timed(followed: Followed) -> None:
    """As the core measured them."""
    followed.tell(1, ManagerState.AVAILABLE, seconds=2.5)
    followed.tell(1, ManagerState.UNLOADING)
    followed.tell(1, ManagerState.END, seconds=0.5)

    assert followed.value("servable_load_seconds_sum") == 2.5
    assert followed.value("servable_unload_seconds_sum") == 0.5
    assert followed.value("servable_unload_seconds_count") == 1


def test_a_version_that_was_unloaded_leaves_no_state(followed: Followed) -> None:
    """Series of versions that are gone would add up."""
    followed.tell(1, ManagerState.AVAILABLE)
    followed.tell(1, ManagerState.UNLOADING)
    followed.tell(1, ManagerState.END)

    assert followed.states() == {}


def test_a_version_that_failed_stays_visible_and_is_counted(followed: Followed) -> None:
    """By its status code; the time that it took is no load time."""
    followed.tell(1, ManagerState.LOADING)
    followed.tell(1, ManagerState.END, seconds=9.0, error=DataLossError("cut short"))

    assert followed.states() == {"1": "END"}
    assert followed.value("servable_failures_total", reason="DATA_LOSS") == 1
    assert followed.value("servable_load_seconds_count") is None
    assert followed.value("servable_unload_seconds_count") is None


def test_a_version_that_failed_and_comes_back_is_shown_as_it_is(followed: Followed) -> None:
    """Once."""
    followed.tell(1, ManagerState.END, error=DataLossError("cut short"))
    followed.tell(1, ManagerState.LOADING)
    followed.tell(1, ManagerState.AVAILABLE)

    assert followed.states() == {"1": "AVAILABLE"}


def test_failed_versions_do_not_add_up(followed: Followed) -> None:
    """The last ones stay."""
    followed.tell(1, ManagerState.AVAILABLE)
    for version in range(2, 2 + 3 * ServableMetrics.MAX_FAILED):
        followed.tell(version, ManagerState.END, error=DataLossError("cut short"))

    states = followed.states()
    assert len(states) == ServableMetrics.MAX_FAILED + 1
    assert states["1"] == "AVAILABLE"
    assert str(1 + 3 * ServableMetrics.MAX_FAILED) in states
