"""The options of the kind `onnx`."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from topicserve.servables.kinds.options import KindOptions


class OnnxOptions(KindOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an ONNX file is loaded and called."""

    file: Annotated[str, Meta(min_length=1)] = "model.onnx"
    """Its name in the version's directory."""
    session_threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    """Threads for this servable alone; by default one a core. 1 is best for a small model: it is
    then run by the threads that call it."""
    provider: Literal["cpu", "cuda"] = "cpu"
    """Where it runs. `cuda` needs topicserve[onnx-gpu]; the load fails where there is no GPU."""
    provider_options: dict[str, str | int] = msgspec.field(default_factory=dict)
    """ONNX Runtime's options of the CUDA provider, such as {"device_id" = 1}."""
    op_libraries: tuple[Annotated[str, Meta(pattern=r"^(/.+|[A-Za-z_][\w.]*)$")], ...] = ()
    """Libraries of custom operators: absolute paths, or Python modules with `get_library_path()`
    such as `onnxruntime_extensions`. None may lie under the servable's base path."""
    batch_records: bool | None = None
    """Whether records share a call. By default where the shapes show what has rows, and no output
    is for the whole call: whether that is computed from rows, they do not show. False and true as
    for the kind `saved_model`."""

    def __post_init__(self) -> None:
        if self.provider_options and self.provider != "cuda":
            raise ValueError('`provider_options` are those of provider = "cuda"')
