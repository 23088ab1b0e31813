"""Imports the Python modules that register TensorFlow ops.

They come from the environment of the worker alone: a version's directory is data.
"""

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from topicserve.servables.core.errors import FailedPreconditionError, InvalidArgumentError

_PACKAGES = {
    "tensorflow_text": "tensorflow-text",
    "tensorflow_io": "tensorflow-io",
    "tensorflow_addons": "tensorflow-addons",
    "tensorflow_decision_forests": "tensorflow-decision-forests",
    "struct2tensor": "struct2tensor",
}


def check_op_libraries(names: Sequence[str]) -> None:
    """Raise InvalidArgumentError for a module that is not installed. Imports nothing."""
    for name in names:
        if _spec(name) is None:
            package = _PACKAGES.get(name.partition(".")[0])
            remedy = f"the package {package}" if package else "the package that has it"
            raise InvalidArgumentError(
                f"op_libraries: there is no module {name!r}; install {remedy}, in the release made "
                "for the installed TensorFlow"
            )


def import_op_libraries(names: Sequence[str], path: str) -> None:
    """Import them, for a version in the directory `path`; FailedPreconditionError names one."""
    for name in names:
        _refuse_model_code(name, Path(path).resolve())
        try:
            import_module(name)
        # A library may fail in any way while it is imported, one of another TensorFlow's above all.
        except Exception as error:
            raise FailedPreconditionError(
                f"op_libraries: the module {name!r} cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error


def _spec(name: str) -> ModuleSpec | None:
    # The spec of a submodule would import its parents.
    top = name.partition(".")[0]
    return find_spec(top) if top not in sys.modules else sys.modules[top].__spec__


def _refuse_model_code(name: str, version: Path) -> None:
    spec = _spec(name)
    for file in _files(spec) if spec is not None else ():
        if file.resolve().is_relative_to(version.parent):
            raise FailedPreconditionError(
                f"op_libraries: the module {name!r} lies under the base path ({file}); "
                "install it into the worker's environment instead"
            )


def _files(spec: ModuleSpec) -> Iterator[Path]:
    if spec.origin is not None and spec.has_location:
        yield Path(spec.origin)
    yield from map(Path, spec.submodule_search_locations or ())
