"""The file of a version: which model of the remote server it is."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from topicserve.protos.open_inference_pb2 import ModelMetadataRequest, ModelReadyRequest

# fmt: off
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "BF16", "FP32", "FP64", "BYTES",
]
# fmt: on


class TensorJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An input or output, as the protocol's metadata has it: -1 is an unknown size."""

    name: Annotated[str, Meta(min_length=1)]
    datatype: Datatype
    shape: tuple[Annotated[int, Meta(ge=-1)], ...]


class OpenInferenceJson(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which model it is; without a version the server chooses one, whenever that changes.

    `inputs` and `outputs` take the place of the server's metadata, for a server that has none.
    """

    model_name: Annotated[str, Meta(min_length=1)]
    version: Annotated[str, Meta(min_length=1)] | Annotated[int, Meta(ge=0)] | None = None
    inputs: tuple[TensorJson, ...] | None = None
    outputs: tuple[TensorJson, ...] | None = None

    @property
    def model_version(self) -> str:
        """Return the version as the protocol writes it: empty where the server chooses."""
        return "" if self.version is None else str(self.version)

    def ready_request(self) -> ModelReadyRequest:
        """Return the question whether the model is ready."""
        return ModelReadyRequest(name=self.model_name, version=self.model_version)

    def metadata_request(self) -> ModelMetadataRequest:
        """Return the question what the model takes and gives."""
        return ModelMetadataRequest(name=self.model_name, version=self.model_version)
