"""A model that a remote TF Serving serves, as a servable."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np
from google.protobuf.message import DecodeError
from msgspec import Meta
from numpy.typing import NDArray

from topicserve.protos.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from topicserve.protos.predict_pb2 import ModelSpec, PredictRequest, PredictResponse
from topicserve.protos.tensors import TensorProtoError, from_tensor_proto, to_tensor_proto
from topicserve.servables.errors import FailedPreconditionError, InternalError, ServableError
from topicserve.servables.predict_checks import check_rows, unknown_signature
from topicserve.servables.servable import Columns, Signature, TensorSpec
from topicserve.servables.signature_def import read_signature, takes_examples

METADATA_UID = "metadata_uid"
_METADATA_UID_SPEC = TensorSpec(np.dtype(object), ())


class RemoteModelJson(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of a version: which model of the remote server it is.

    With neither a version nor a label it is the latest of the remote's, whenever that changes.
    """

    model_name: Annotated[str, Meta(min_length=1)]
    version: Annotated[int, Meta(ge=0)] | None = None
    version_label: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.version_label is not None:
            raise ValueError("must have a `version` or a `version_label`, not both")

    def model_spec(self, signature_name: str = "") -> ModelSpec:
        """Return the message that names the model."""
        spec = ModelSpec(name=self.model_name, signature_name=signature_name)
        if self.version is not None:
            spec.version.value = self.version
        elif self.version_label is not None:
            spec.version_label = self.version_label
        return spec


class PredictionService(Protocol):
    """What calls TF Serving."""

    def predict(self, request: PredictRequest) -> PredictResponse:
        """Return the answer, or raise ServableError."""

    def get_model_metadata(self, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
        """Return what a model takes and gives, or raise ServableError."""


class RemoteModel:
    """Predicts by calling a TF Serving. Any number of threads may call it at once."""

    def __init__(
        self,
        service: PredictionService,
        model: RemoteModelJson,
        signatures: Mapping[str, Signature],
        on_close: Callable[[], None],
    ) -> None:
        self._service = service
        self._model = model
        self.signatures = signatures
        self._on_close = on_close

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        """Return what the remote model answers: as many rows as came in.

        The column `metadata_uid` is sent where the signature has it, and only there.
        """
        signature = self.signatures.get(signature_name)
        if signature is None:
            raise unknown_signature(signature_name, self.signatures)
        request = PredictRequest(model_spec=self._model.model_spec(signature_name))
        for name in inputs.keys() & signature.inputs.keys():
            request.inputs[name].CopyFrom(to_tensor_proto(inputs[name]))
        response = self._service.predict(request)
        outputs = _columns(response)
        check_rows(outputs, len(next(iter(inputs.values()))))
        return outputs

    def close(self) -> None:
        """Give up the connection."""
        self._on_close()


def read_signatures(
    service: PredictionService, model: RemoteModelJson, send_metadata_uid: bool
) -> dict[str, Signature]:
    """Ask the remote server what the model takes and gives.

    Raises what the service raises, and FailedPreconditionError where the answer is no use.
    """
    request = GetModelMetadataRequest(
        model_spec=model.model_spec(), metadata_field=["signature_def"]
    )
    response = service.get_model_metadata(request)
    try:
        found = SignatureDefMap.FromString(response.metadata["signature_def"].value)
    except DecodeError as error:
        raise FailedPreconditionError(f"the model's metadata cannot be read: {error}") from None
    signatures = {}
    for name, signature_def in found.signature_def.items():
        try:
            signature = read_signature(signature_def)
        except ServableError:  # not about plain tensors: it cannot be called with columns
            continue
        # The remote's graph is not to be seen: features are of the dtypes that their values have.
        signatures[name] = (
            replace(signature, features={}) if takes_examples(signature) else signature
        )
    if not signatures:
        raise FailedPreconditionError(f"model {model.model_name}: no signature can be called")
    if send_metadata_uid:
        signatures = {name: _with_metadata_uid(one) for name, one in signatures.items()}
    return signatures


def _with_metadata_uid(signature: Signature) -> Signature:
    return replace(signature, inputs={METADATA_UID: _METADATA_UID_SPEC} | dict(signature.inputs))


def _columns(response: PredictResponse) -> Columns:
    columns: dict[str, NDArray[Any]] = {}
    for name, tensor in response.outputs.items():
        try:
            columns[name] = from_tensor_proto(tensor)
        except TensorProtoError as error:
            raise InternalError(f"output {name!r} cannot be read: {error}") from None
    return columns
