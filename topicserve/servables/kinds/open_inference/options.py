"""The options of the kind `open_inference`."""

from typing import Annotated

from msgspec import Meta

from topicserve.servables.kinds.remote.options import RemoteOptions


class OpenInferenceOptions(RemoteOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the remote server is, and what its models are sent."""

    file: Annotated[str, Meta(min_length=1)] = "open_inference.json"
    """The file of a version that names the remote model."""
    max_batch_size: Annotated[int, Meta(ge=1)] | None = None
    """Rows of one call at most, as Triton's option of that name: a larger batch becomes several
    calls. By default a batch is one call."""
    raw_contents: bool = True
    """Whether tensors are sent as bytes. False sends their elements one by one, for a server that
    takes nothing else; FP16 and BF16 have no such form."""
    metadata_interval_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 10.0
    """How often the server is asked whether the model has another signature now. It is also asked
    when a call fails."""
