"""The one place that imports ONNX Runtime, with how its sessions are set up and what it says."""

import os
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from topicserve.servables.core.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    ServableError,
)
from topicserve.servables.kinds.onnx.options import OnnxOptions
from topicserve.servables.kinds.onnx.signature import Value
from topicserve.servables.kinds.status_errors import error_of_status

_STATUS_NAMES = {
    native.InvalidArgument: "INVALID_ARGUMENT",
    native.InvalidGraph: "INVALID_ARGUMENT",
    native.NoSuchFile: "NOT_FOUND",
    native.InvalidProtobuf: "DATA_LOSS",
    native.NotImplemented: "UNIMPLEMENTED",
    native.Fail: "FAILED_PRECONDITION",
    native.RuntimeException: "UNKNOWN",
    native.EPFail: "UNKNOWN",
}
_ERRORS = tuple(_STATUS_NAMES)

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_FATAL = 4  # the level of its own log: what goes wrong is raised, and told once
# "[ONNXRuntimeError] : 1 : FAIL : Load model from /models/1/model.onnx failed:"
_PREFIX = re.compile(r"^(\[ONNXRuntimeError\] : \d+ : \w+ : )?(Load model from .*? failed:)?")
# "/onnxruntime_src/onnxruntime/core/graph/model.cc:256 void f(const T&, int) ", with what follows
_PLACE = re.compile(
    r"/onnxruntime_src/\S+ .*?\)(::<lambda\(\)>)?( const)? (?=[A-Z\[!(])|\w+\.cc:\d+ \w+ "
)
_UNKNOWN_OPERATOR = re.compile(r"(\S+)\(-?\d+\) is not a registered function/op")
_NO_LOCALE = re.compile(r"Failed to construct locale")
INSTALL_LOCALE = (
    "apt-get install --yes locales && localedef -i en_US -f UTF-8 en_US.UTF-8 (Debian, Ubuntu)"
)
_OUT_OF_MEMORY = re.compile(r"bad_?alloc|Failed to allocate memory|out of memory", re.IGNORECASE)


def translate(error: BaseException) -> ServableError:
    """Return what ONNX Runtime says in the core's words: its cause in one line."""
    message = _PREFIX.sub("", str(error).strip(), count=1)
    text = " ".join(_PLACE.sub("", message).split())
    unknown = _UNKNOWN_OPERATOR.search(text)
    if unknown:
        text = (
            f"there is no operator {unknown[1]}: name the library that has it in the option "
            'op_libraries, such as op_libraries = ["onnxruntime_extensions"]'
        )
    if _NO_LOCALE.search(text):
        text = f"an operator on texts needs the locale en_US.UTF-8: {INSTALL_LOCALE} ({text})"
    name = "RESOURCE_EXHAUSTED" if _OUT_OF_MEMORY.search(text) else _STATUS_NAMES[type(error)]
    return error_of_status(name, text)


class OnnxSession:
    """A model of a file, loaded.

    ONNX Runtime reads external data from the file's own directory alone, links resolved. `close`
    gives the memory back also while the object is referred to: the error of a load is kept, and
    with it the traceback.
    """

    def __init__(self, file: str, options: OnnxOptions) -> None:
        """Load it; raises what `translate` returns, or what is missing of the options."""
        settings = _settings(options)
        for library in _library_paths(options.op_libraries, Path(file).parent):
            _register(settings, library)
        self._native = _open(file, settings, options)

    def values(self) -> tuple[list[Value], list[Value]]:
        """Return inputs and outputs; one without dimensions is a scalar or of unknown rank."""
        try:
            inputs, outputs = self._native.get_inputs(), self._native.get_outputs()
            return [_value(one) for one in inputs], [_value(one) for one in outputs]
        except UnicodeDecodeError as error:
            raise _not_text(error) from None

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """Return these outputs; raises what `translate` returns."""
        try:
            return self._native.run(outputs, feeds)  # type: ignore[no-any-return]
        except _ERRORS as error:
            raise translate(error) from error
        except UnicodeDecodeError as error:
            raise InvalidArgumentError(f"an output's string is not UTF-8: {error}") from None

    def close(self) -> None:
        """Give the memory back."""
        del self._native


def _open(file: str, settings: Any, options: OnnxOptions) -> Any:
    provider = _PROVIDERS[options.provider]
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise FailedPreconditionError(
            f"provider = {options.provider!r}: the installed ONNX Runtime has only "
            f"{', '.join(available)}; install topicserve[onnx-gpu] in place of topicserve[onnx]"
        )
    if options.provider == "cuda" and find_spec("nvidia") is not None:
        onnxruntime.preload_dlls(msvc=False)  # CUDA's libraries where pip has put them
    choices = {key: str(value) for key, value in options.provider_options.items()}
    try:
        session = onnxruntime.InferenceSession(
            file, settings, providers=[(provider, choices)], enable_fallback=0
        )
    except _ERRORS as error:
        raise translate(error) from error
    except UnicodeDecodeError as error:  # what it says of the file cannot be read
        raise _not_text(error) from None
    if provider not in session.get_providers():  # it goes on with the CPU where CUDA cannot start
        raise FailedPreconditionError(
            f"provider = {options.provider!r} could not be started; is there a GPU, with the CUDA "
            "and cuDNN that the installed onnxruntime-gpu needs?"
        )
    return session


def _value(found: Any) -> Value:
    return Value(found.name, found.type, found.shape)


def _not_text(error: UnicodeDecodeError) -> DataLossError:
    return DataLossError(f"a name in it is not UTF-8: {error}")


def _settings(options: OnnxOptions) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.session_threads or _cores()
    settings.inter_op_num_threads = 1
    # Threads that wait for work by spinning take a core each from the rest of the worker.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Both keep the memory of the largest calls, and patterns one for each shape that was seen.
    settings.enable_cpu_mem_arena = False
    settings.enable_mem_pattern = False
    settings.log_severity_level = _FATAL
    return settings


def _cores() -> int:
    # Left to itself, ONNX Runtime pins each thread to a core, also to one that it may not use.
    is_told = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if is_told else os.cpu_count() or 1


def _library_paths(libraries: Sequence[str], version: Path) -> list[str]:
    """Return the files of the libraries, none of which lies beside a model.

    A version's directory is data: what runs comes from the worker's environment alone.
    """
    paths = [_library_path(library) for library in libraries]
    base_path = version.resolve().parent
    for path in paths:
        if Path(path).resolve().is_relative_to(base_path):
            raise FailedPreconditionError(
                f"op_libraries: {path} lies under the base path; "
                "install it into the worker's environment instead"
            )
    return paths


def _library_path(library: str) -> str:
    if library.startswith("/"):
        return library
    try:
        return str(import_module(library).get_library_path())
    # A library may fail in any way while it is imported.
    except Exception as error:
        raise FailedPreconditionError(
            f"op_libraries: the module {library!r} gives no library: "
            f"{type(error).__name__}: {error}"
        ) from error


def _register(settings: Any, library: str) -> None:
    try:
        settings.register_custom_ops_library(library)
    except _ERRORS as error:
        raise FailedPreconditionError(
            f"op_libraries: {library} cannot be loaded: {translate(error)}"
        ) from error
