"""Our messages of the Open Inference Protocol and the published ones are the same on the wire."""

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from tests.protos.test_wire_compatibility import messages, wire_form
from tests.support.open_inference.published import CLASSES
from topicserve.protos import open_inference_pb2

OURS = messages((open_inference_pb2,))


@pytest.mark.parametrize("name", sorted(name for name in OURS if not name.endswith("Entry")))
def test_fields_are_the_published_ones(name: str) -> None:
    """Each message has the names, numbers, types and oneofs of the published one."""
    theirs: Any = CLASSES[name].DESCRIPTOR

    assert _fields(OURS[name]) == _fields(theirs)


def _fields(message: Any) -> dict[str, Any]:
    fields: list[FieldDescriptor] = list(message.fields)
    return {field.name: wire_form(field) for field in fields}
