"""What a reader of one partition sees comes in the order in which its records were published."""

from typing import Any

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.servables.servables import Served
from tests.support.stages.examples import examples
from tests.support.stages.records import a_kafka_record
from tests.worker.stages.calls.test_second_tries import GUARANTEES, Padding
from tests.worker.test_pipeline import World
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.servable import Signature, TensorSpec
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord
from topicserve.worker.config.schema import BatchingConfig, Guarantee
from topicserve.worker.runtime.topic_limit import TopicLimit

LIMIT_BYTES = 3000
LARGE, TOO_LARGE, FAILS, WRITES_NOTHING = 500.0, 4000.0, -1.0, -2.0


class Moody:
    """Answers texts as long as a row's first number; fails on some, and writes what is no JSON."""

    signatures = {  # noqa: RUF012
        "serving_default": Signature(
            {"x": TensorSpec(np.dtype(np.float32), (None,))},
            {"y": TensorSpec(np.dtype(object), ())},
        )
    }

    def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:  # noqa: ARG002
        first = inputs["x"][:, 0]
        if FAILS in first:
            raise InvalidArgumentError("not this one")
        made = [object() if size == WRITES_NOTHING else "a" * int(size) for size in first]
        return {"y": np.array([*made, None], object)[:-1]}


def bodies() -> st.SearchStrategy[bytes]:
    """Return bodies of all layouts, some of which end as dead letters."""
    numbers = st.sampled_from([1.0, 2.0, LARGE, TOO_LARGE, FAILS, WRITES_NOTHING])
    row = st.builds(lambda first, more: [first] + [0.0] * more, numbers, st.integers(0, 3))
    return st.one_of(
        st.builds(lambda one: orjson.dumps({"instance": one}), row),
        st.builds(lambda one: orjson.dumps({"instance": {"x": one}}), row),
        st.builds(lambda one, n: orjson.dumps({"instances": [one] * n}), row, st.integers(1, 3)),
        st.builds(lambda one, n: orjson.dumps({"inputs": [one] * n}), row, st.integers(1, 3)),
        st.just(b"{"),
    )


@given(
    values=st.lists(bodies(), min_size=1, max_size=60),
    guarantee=st.sampled_from(Guarantee),
    rows=st.sampled_from([1, 7, 64]),
)
@settings(max_examples=examples(60), deadline=None)
def test_results_keep_the_order_of_their_records(
    values: list[bytes], guarantee: Guarantee, rows: int
) -> None:
    """Whatever calls they need: of unlike layouts, halved for a bad row, alone for their size."""
    made = [a_kafka_record(n, value=value, partition=n % 2) for n, value in enumerate(values)]

    world = a_world(made, guarantee, rows)

    assert len(world.log.published) == len(made)
    results = [number_of(sent) for sent in world.log.published if sent.topic == "out"]
    for partition in (0, 1):
        own = [number for number in results if number % 2 == partition]
        assert own == sorted(own)


@GUARANTEES
def test_what_is_predicted_again_is_not_overtaken(guarantee: Guarantee) -> None:
    """Results that are too large beside a long one are predicted alone before later ones go."""
    made = [a_kafka_record(n, 2000.0 if n % 20 == 9 else 1.0) for n in range(200)]

    world = a_world(made, guarantee, rows=7, servable=Padding())

    sent = [number_of(one) for one in world.log.published if one.topic == "out"]
    assert sent == [n for n in range(200) if n % 20 != 9]
    assert len(world.log.published) == 200


def a_world(
    made: list[KafkaRecord], guarantee: Guarantee, rows: int, servable: Any = None
) -> World:
    """Return a pipeline that has answered these records."""
    limit = TopicLimit("out")
    limit.max_bytes = LIMIT_BYTES
    batching = BatchingConfig(max_batch_size=rows)
    served = Served({1: servable or Moody()})
    world = World(made, guarantee, served, limit=limit, batching=batching)
    world.run()
    return world


def number_of(sent: OutgoingRecord) -> int:
    """Return the offset of the record that this is the outcome of."""
    found = dict(sent.headers)["ce_id"] or b""
    return int(found.replace(b"-", b""), 16)
