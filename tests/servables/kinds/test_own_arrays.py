"""What a servable returned stays as it was, whatever the servable does with its buffers."""

from typing import Any

import numpy as np
import pytest

from tests.support.servables.buffers import OneBuffer
from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.kinds.hashmap.hashmap import Hashmap
from topicserve.servables.kinds.onnx.onnx_model import OnnxModel
from topicserve.servables.kinds.open_inference.remote_model import OpenInferenceModel
from topicserve.servables.kinds.own_arrays import own_arrays
from topicserve.servables.kinds.pipeline.pipeline import HeldPipeline, PipelineServable
from topicserve.servables.kinds.saved_model.saved_model import SavedModel
from topicserve.servables.kinds.tf_serving.remote_model import RemoteModel
from topicserve.servables.kinds.transform.transform import Transform
from topicserve.servables.kinds.vocabulary.vocabulary import Vocabulary

SHIPPED = [
    *(Hashmap, Vocabulary, Transform, PipelineServable, HeldPipeline),
    *(SavedModel, OnnxModel, OpenInferenceModel, RemoteModel),
]


class NewArrays:
    """Promises that its arrays are new ones."""

    returns_new_arrays = True


class OddArray(np.ndarray[Any, Any]):
    """A kind of array that numpy does not know."""


@pytest.mark.parametrize(
    "array",
    [
        *(np.arange(6.0).reshape(2, 3), np.arange(6.0)[::-2], np.array(1.5), np.zeros((0, 2))),
        *(np.array([b"a", b"b"], object), np.broadcast_to(np.float32(3), (4, 2))),
    ],
)
def test_what_may_be_written_again_is_copied(array: Any) -> None:
    """The copy has the same values, dtype and shape, and no memory in common."""
    copied = own_arrays(OneBuffer(), {"y": array})["y"]

    assert not np.shares_memory(copied, array)
    assert (copied.dtype, copied.shape, copied.tolist()) == (
        *(array.dtype, array.shape, array.tolist()),
    )


@pytest.mark.parametrize("kind", SHIPPED)
def test_kinds_that_are_shipped_are_not_copied(kind: Any) -> None:
    """They return new arrays in each call."""
    outputs = {"y": np.zeros(2)}

    assert own_arrays(kind.__new__(kind), outputs) is outputs
    assert own_arrays(NewArrays(), outputs) is outputs


def test_repeated_values_take_no_more_memory_than_before() -> None:
    """A constant for a million million elements is one number."""
    huge = np.broadcast_to(np.float32(3), (2**20, 2**20))

    copied = own_arrays(OneBuffer(), {"y": huge})["y"]

    assert copied.shape == huge.shape
    assert copied.strides == (0, 0)


def test_a_masked_array_is_refused() -> None:
    """What is under the mask is no value, and must not be published as one."""
    masked = np.ma.masked_array([1.0, 2.0], mask=[True, False])

    with pytest.raises(FailedPreconditionError, match="output 'y' is a masked array; fill what"):
        own_arrays(OneBuffer(), {"y": masked})


def test_other_kinds_of_arrays_become_plain_ones() -> None:
    """A row of some of them would have other dimensions than a row of an array."""
    odd = np.zeros((2, 2)).view(OddArray)

    assert type(own_arrays(OneBuffer(), {"y": odd})["y"]) is np.ndarray


@pytest.mark.parametrize("outputs", [None, [1], {"y": [1.0]}, {"y": np.float32(1)}])
def test_what_is_no_array_is_left_to_the_checks(outputs: Any) -> None:
    """They say what is wrong with it."""
    assert own_arrays(OneBuffer(), outputs) == outputs
