"""What a server answered, checked against what its metadata says."""

from collections.abc import Collection
from typing import Any

from numpy.typing import NDArray

from topicserve.protos import open_inference_pb2 as pb
from topicserve.protos.infer_tensors import datatype_of, read_infer_tensors
from topicserve.protos.tensors import TensorProtoError
from topicserve.servables.core.errors import FailedPreconditionError, InternalError
from topicserve.servables.kinds.open_inference.signature import Declared
from topicserve.servables.kinds.predict_checks import shape_fits, shape_text
from topicserve.servables.kinds.servable import Columns


def columns_of(
    response: pb.ModelInferResponse, declared: Declared, outputs: Collection[str]
) -> Columns:
    """Return the outputs asked for; others that the server gave are left out.

    Raises InternalError where the answer cannot be read or has an output twice, and
    FailedPreconditionError where an output is missing, or has not the datatype or shape that the
    metadata says.
    """
    columns: dict[str, NDArray[Any]] = {}
    try:
        for name, array in read_infer_tensors(response.outputs, response.raw_output_contents):
            if name not in outputs:
                continue
            if isinstance(array, TensorProtoError):
                raise InternalError(f"output {name!r} cannot be read: {array}")
            if name in columns:
                raise InternalError(f"the server gave the output {name!r} twice")
            columns[name] = _as_declared(name, array, declared)
    except TensorProtoError as error:
        raise InternalError(f"the answer cannot be read: {error}") from None
    for name in outputs:
        if name not in columns:
            raise FailedPreconditionError(f"the server gave no output {name!r}")
    return columns


def _as_declared(name: str, array: NDArray[Any], declared: Declared) -> NDArray[Any]:
    """Return an output in its declared shape, the number of its rows aside."""
    dtype, shape = declared.signature.outputs[name].dtype, declared.output_shapes[name]
    if array.dtype != dtype:
        raise FailedPreconditionError(
            f"output {name!r} is {datatype_of(array.dtype)}; the model's metadata says "
            f"{datatype_of(dtype)}"
        )
    # MLServer gives one number a row as [rows, 1], also where its metadata says [-1].
    if array.ndim == len(shape) + 1 and array.shape[-1] == 1:
        array = array.reshape(array.shape[:-1])
    if array.ndim != len(shape) or not shape_fits(array.shape[1:], shape[1:]):
        raise FailedPreconditionError(
            f"output {name!r} has the shape {list(array.shape)}; the model's metadata says "
            f"{shape_text(shape)}"
        )
    return array
