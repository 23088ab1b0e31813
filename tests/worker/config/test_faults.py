from typing import Annotated

import msgspec
import msgspec.inspect as types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.worker.config.faults import faults
from topicserve.worker.config.schema import Client, WorkerConfig
from topicserve.worker.config.types import ConfigTable, Count, KafkaSettings, Seconds, Version

_WORKER = types.type_info(WorkerConfig)


class Inner(ConfigTable, frozen=True):
    """A table in a table, one key of which must be given."""

    name: str
    version: Version | None = None


class Outer(ConfigTable, frozen=True):
    """One key of each type that the configuration has."""

    count: Count = 1
    seconds: Seconds = 0.0
    above: Annotated[float, msgspec.Meta(gt=0, le=9)] = 1.0
    client: Client = Client.CONFLUENT
    sizes: tuple[Count, ...] = ()
    text: str = ""
    switch: bool = False
    label: str | None = None
    settings: KafkaSettings = msgspec.field(default_factory=dict)
    inner: Inner | None = None
    listed: tuple[Inner, ...] = ()


_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.sampled_from(["confluent", "", "1", 10**400, 2**53, 2**53 + 1, 9, 9.5]),
        st.binary(max_size=2),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["name", "version", "other"]), inner, max_size=3),
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*Outer.__struct_fields__, "counts"]), _VALUES))
def test_a_fault_is_named_exactly_where_the_conversion_refuses(table: dict[str, object]) -> None:
    """So no refused configuration is without a key, and no accepted one has a fault."""
    found = list(faults(types.type_info(Outer), table, ""))

    try:
        msgspec.convert(table, Outer)
    except msgspec.ValidationError:
        assert found
    else:
        assert [str(fault) for fault in found] == []


def test_every_fault_is_found() -> None:
    """In the order of the tables; a table of a list goes by its name."""
    table = {
        "count": 0,
        "above": 0.0,
        "client": "librdkafka",
        "sizes": [1, "2"],
        "settings": {"a.b": []},
        "listed": [{"name": "x", "version": -1}, {}, 5],
        "swich": True,
    }

    assert [str(fault) for fault in faults(types.type_info(Outer), table, "t")] == [
        "t.swich: is not a key; did you mean t.switch?",
        "t.count: must be at least 1, found 0",
        "t.above: must be above 0, found 0.0",
        "t.client: must be 'kafka-python' or 'confluent', found 'librdkafka'",
        "t.sizes[1]: must be a whole number, found '2'",
        "t.settings.a.b: must be a string, a number, true or false, found a list",
        "t.listed.x.version: must be at least 0, found -1",
        "t.listed[1].name: is missing; set it in the file or in TOPICSERVE_T__LISTED[1]__NAME",
        "t.listed[2]: must be a table",
    ]


@pytest.mark.parametrize("table", [{"topics": {}}, {}])
def test_of_a_missing_table_the_missing_key_is_named(table: dict[str, object]) -> None:
    """The file need not have the table at all: its keys may come from flags."""
    first = next(faults(_WORKER, table, ""))

    assert first.key == "topics.input"
