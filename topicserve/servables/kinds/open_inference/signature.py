"""What a remote model takes and gives, asked of its server."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from topicserve.protos import open_inference_pb2 as pb
from topicserve.protos.infer_tensors import RAW_ONLY, dtype_of
from topicserve.protos.tensors import TensorProtoError
from topicserve.servables.core.errors import (
    FailedPreconditionError,
    UnavailableError,
    UnimplementedError,
)
from topicserve.servables.kinds.open_inference.model_file import OpenInferenceJson, TensorJson
from topicserve.servables.kinds.open_inference.options import OpenInferenceOptions
from topicserve.servables.kinds.servable import Signature
from topicserve.servables.kinds.signature_def import (
    DeclaredTensor,
    read_signature,
    rows_of_a_call,
    signature_def_of,
)

Tensor = TensorJson | pb.ModelMetadataResponse.TensorMetadata


class InferenceService(Protocol):
    """What calls the server. Each call returns the answer, or raises ServableError."""

    server_ready: Callable[[pb.ServerReadyRequest], pb.ServerReadyResponse]
    model_ready: Callable[[pb.ModelReadyRequest], pb.ModelReadyResponse]
    model_metadata: Callable[[pb.ModelMetadataRequest], pb.ModelMetadataResponse]
    model_infer: Callable[[pb.ModelInferRequest], pb.ModelInferResponse]
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Declared:
    """What the model takes and gives."""

    signature: Signature
    rows_of_a_call: int | None
    """How many rows every call must have, None where any number will do."""
    output_shapes: Mapping[str, tuple[int | None, ...]]
    """Those of the whole tensors."""


def read_declared(
    service: InferenceService, model: OpenInferenceJson, options: OpenInferenceOptions
) -> Declared:
    """Return what the model takes and gives, once the server says that it is ready.

    Raises UnavailableError while it is not, what the service raises, FailedPreconditionError where
    inputs or outputs are not declared, or twice, and UnimplementedError for one that no column can
    be, or that cannot be sent as the options say.
    """
    _check_ready(service, model)
    inputs: Sequence[Tensor] | None = model.inputs
    outputs: Sequence[Tensor] | None = model.outputs
    if inputs is None or outputs is None:
        metadata = service.model_metadata(model.metadata_request())
        inputs = metadata.inputs if inputs is None else inputs
        outputs = metadata.outputs if outputs is None else outputs
    for what, tensors in (("inputs", inputs), ("outputs", outputs)):
        if not tensors:
            raise FailedPreconditionError(
                f"the server does not say what {what} model {model.model_name!r} has; declare "
                f"\"{what}\" in the model's settings on the server, or in the version's file"
            )
        _check_names(tensors, what)
    if not options.raw_contents:
        _check_typed(inputs)
    definition = signature_def_of(_declared(inputs, "input"), _declared(outputs, "output"))
    signature = read_signature(definition, options.batch_records)
    shapes = {one.name: _sizes(one) for one in outputs}
    return Declared(signature, rows_of_a_call(definition, signature), shapes)


def _check_ready(service: InferenceService, model: OpenInferenceJson) -> None:
    if service.model_ready(model.ready_request()).ready:
        return
    # Asked second: a server may call itself not ready for another model's sake.
    is_ready = service.server_ready(pb.ServerReadyRequest()).ready
    version = f" version {model.model_version!r}" if model.model_version else ""
    what = f"model {model.model_name!r}{version}" if is_ready else "the server"
    raise UnavailableError(f"{what} is not ready")


def _check_names(tensors: Sequence[Tensor], what: str) -> None:
    for name, count in Counter(one.name for one in tensors).items():
        if count > 1:
            raise FailedPreconditionError(f"the model's {what} have {name!r} twice")


def _check_typed(inputs: Iterable[Tensor]) -> None:
    for one in inputs:
        if one.datatype in RAW_ONLY:
            raise UnimplementedError(
                f"the input {one.name!r} is {one.datatype}, which is sent as bytes alone: remove "
                "the option raw_contents = false"
            )


def _declared(tensors: Iterable[Tensor], what: str) -> Iterator[DeclaredTensor]:
    for tensor in tensors:
        try:
            yield DeclaredTensor(tensor.name, dtype_of(tensor.datatype), _sizes(tensor))
        except TensorProtoError as error:
            raise UnimplementedError(f"the {what} {tensor.name!r}: {error}") from None


def _sizes(tensor: Tensor) -> tuple[int | None, ...]:
    return tuple(None if size < 0 else size for size in tensor.shape)
