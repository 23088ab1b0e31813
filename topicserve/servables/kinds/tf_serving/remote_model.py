"""A model that a remote TF Serving serves, as a servable."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Annotated, Any, NamedTuple, Protocol

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
from topicserve.protos.metadata_uid import METADATA_UID
from topicserve.protos.predict_pb2 import ModelSpec, PredictRequest, PredictResponse
from topicserve.protos.tensors import TensorProtoError, from_tensor_proto, to_tensor_proto
from topicserve.servables.core.errors import FailedPreconditionError, InternalError, ServableError
from topicserve.servables.kinds.fixed_rows import predict_in_parts
from topicserve.servables.kinds.predict_checks import check_rows, rows_of, unknown_signature
from topicserve.servables.kinds.remote.careful_calls import CarefulCalls
from topicserve.servables.kinds.servable import Columns, Scope, Signature, TensorSpec
from topicserve.servables.kinds.signature_def import read_signature, rows_of_a_call, takes_examples
from topicserve.servables.kinds.tf_serving.options import TfServingOptions


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

    def close(self) -> None:
        """End all calls, now and from now on."""

    def predict(self, request: PredictRequest) -> PredictResponse:
        """Return the answer, or raise ServableError."""

    def get_model_metadata(self, request: GetModelMetadataRequest) -> GetModelMetadataResponse:
        """Return what a model takes and gives, or raise ServableError."""


class RemoteModel:
    """Predicts by calling a TF Serving. Any number of threads may call it at once."""

    returns_new_arrays = True

    def __init__(
        self,
        service: PredictionService,
        model: RemoteModelJson,
        remote: "RemoteSignatures",
        timeout_seconds: float,
        on_close: Callable[[], None],
    ) -> None:
        self._service = service
        self._model = model
        self.signatures = remote.signatures
        self._rows_of_a_call = remote.rows_of_a_call
        self._careful = {name: CarefulCalls(timeout_seconds) for name in remote.signatures}
        self._on_close = on_close

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        """Return what the remote model answers: those with rows have as many as came in.

        The column `metadata_uid` is sent where the signature has it, and only there.
        """
        return self.predict_outputs(inputs, signature_name, ())

    def predict_outputs(
        self, inputs: Columns, signature_name: str, outputs: Collection[str]
    ) -> Columns:
        """Ask the remote model for these outputs alone; none stand for all."""
        found = self.signatures.get(signature_name)
        if found is None:
            raise unknown_signature(signature_name, self.signatures)
        signature, size = found, self._rows_of_a_call.get(signature_name)

        def ask(columns: Columns) -> Columns:
            return self._ask(columns, signature_name, signature, outputs)

        def call(columns: Columns) -> Columns:
            return ask(columns) if size is None else predict_in_parts(ask, columns, signature, size)

        return self._careful[signature_name].predict(call, inputs, signature, tuple(outputs))

    def _ask(
        self, inputs: Columns, signature_name: str, signature: Signature, outputs: Collection[str]
    ) -> Columns:
        request = PredictRequest(
            model_spec=self._model.model_spec(signature_name), output_filter=sorted(outputs)
        )
        for name in inputs.keys() & signature.inputs.keys():
            request.inputs[name].CopyFrom(to_tensor_proto(inputs[name]))
        response = self._service.predict(request)
        columns = _columns(response)
        rows = rows_of(inputs, signature.inputs)
        if rows is not None:
            check_rows(columns, rows, signature.outputs)
        return columns

    def cancel_calls(self) -> None:
        """End all calls of the connection: a worker that stops waits for none."""
        self._service.close()

    def close(self) -> None:
        """Give up the connection."""
        self._on_close()


class RemoteSignatures(NamedTuple):
    """What the remote model takes and gives."""

    signatures: Mapping[str, Signature]
    rows_of_a_call: Mapping[str, int]
    """By the names of those signatures that take exactly so many rows."""


def read_signatures(
    service: PredictionService, model: RemoteModelJson, options: TfServingOptions
) -> RemoteSignatures:
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
    signatures: dict[str, Signature] = {}
    rows_of_calls: dict[str, int] = {}
    for name, signature_def in found.signature_def.items():
        try:
            signature = read_signature(signature_def, options.batch_records)
        except ServableError:  # not about plain tensors: it cannot be called with columns
            continue
        rows = rows_of_a_call(signature_def, signature)
        if rows is not None:
            rows_of_calls[name] = rows
        if options.send_metadata_uid:
            signature = _with_metadata_uid(signature)
        elif takes_examples(signature):
            # The remote's graph is not to be seen: features are of their values' dtypes.
            signature = replace(signature, features={})
        signatures[name] = signature
    if not signatures:
        raise FailedPreconditionError(f"model {model.model_name}: no signature can be called")
    return RemoteSignatures(signatures, rows_of_calls)


def _with_metadata_uid(signature: Signature) -> Signature:
    """Return the signature with the id as one more input: one a row, where it has rows."""
    has_rows = any(spec.scope is Scope.ROW for spec in signature.inputs.values())
    string = np.dtype(object)
    uid = TensorSpec(string, ()) if has_rows else TensorSpec(string, None, Scope.UNKNOWN)
    return replace(signature, inputs={METADATA_UID: uid} | dict(signature.inputs), features=None)


def _columns(response: PredictResponse) -> Columns:
    columns: dict[str, NDArray[Any]] = {}
    for name, tensor in response.outputs.items():
        try:
            columns[name] = from_tensor_proto(tensor)
        except TensorProtoError as error:
            raise InternalError(f"output {name!r} cannot be read: {error}") from None
    return columns
