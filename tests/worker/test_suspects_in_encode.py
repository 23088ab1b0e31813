"""A record that may have ended a worker has survived once its result is written, and not before."""

from typing import Any

import pytest

from tests.support.stages.records import PARTITION
from tests.worker.test_pipeline import World, records
from topicserve.worker.config.schema import Guarantee
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.request import Batch, Route


@pytest.mark.parametrize("ends", [False, True])
def test_a_suspect_survives_once_its_result_is_written(
    ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body of a user's own may kill the worker in its `write`, as a model does in `predict`."""
    polled = records(1)
    world = World(polled, Guarantee.AT_LEAST_ONCE)
    stages = world.stages
    encode = stages.output.encoder.encode
    called: list[str] = []

    def writing(*arguments: Any) -> Any:
        called.append("encode")
        if ends:
            raise SystemExit("killed")
        return encode(*arguments)

    monkeypatch.setattr(stages.output.encoder, "encode", writing)
    for part, name in ((stages.intake.quarantine, "survived"), (stages.output.order, "settle")):
        monkeypatch.setattr(part, name, lambda *_, name=name: called.append(name))
    requests, _ = stages.intake.decoder.decode(polled, [PartitionAssignment(PARTITION)], 0.0)
    route = Route("digits", None, None, "serving_default", is_suspect=True)
    batch = Batch(route, 0, requests, [], 1, 0.0)

    if ends:
        with pytest.raises(SystemExit):
            world.pipeline.serve(batch)
    else:
        world.pipeline.serve(batch)

    assert called == (["encode"] if ends else ["encode", "survived", "settle"])
