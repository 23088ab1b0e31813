"""A servable that applies the steps of a JSON file."""

from collections.abc import Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.json_file import TensorSpecJson, read_json_file
from topicserve.servables.kinds.predict_checks import unknown_signature
from topicserve.servables.kinds.servable import Columns, Signature, TensorSpec
from topicserve.servables.kinds.transform.image_step import DecodeImage
from topicserve.servables.kinds.transform.shape_steps import (
    Argmax,
    Concatenate,
    OneHot,
    Rename,
    Reshape,
)
from topicserve.servables.kinds.transform.value_steps import Bucketize, Cast, Clip, Scale

NumberStep = Scale | Clip | Bucketize | Cast | OneHot | Argmax
AnyStep = NumberStep | Reshape | Rename | Concatenate | DecodeImage

SIGNATURE_NAME = "serving_default"


class TransformDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: what comes in, the steps in their order, and the columns that go out."""

    inputs: Annotated[Mapping[str, TensorSpecJson], msgspec.Meta(min_length=1)]
    steps: Annotated[tuple[AnyStep, ...], msgspec.Meta(max_length=1000)]
    outputs: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class PlacedStep(NamedTuple):
    """A step, and what errors call it."""

    step: AnyStep
    where: str
    output: str


class Transform:
    """Applies its steps to columns. The signature is inferred from the file, so it is exact.

    Raises InvalidArgumentError naming the step where one does not fit what comes before it.
    """

    returns_new_arrays = True

    def __init__(self, definition: TransformDefinition) -> None:
        self._steps = [_placed(index, step) for index, step in enumerate(definition.steps)]
        self._outputs = definition.outputs
        decoders = [i for i, one in enumerate(definition.steps) if isinstance(one, DecodeImage)]
        self._to_weigh = self._steps[: max(decoders, default=-1) + 1]
        inputs = {name: spec.read() for name, spec in definition.inputs.items()}
        signature = Signature(inputs, self._infer(inputs), rows_are_independent=True)
        self.signatures = {SIGNATURE_NAME: signature}

    def _infer(self, inputs: Mapping[str, TensorSpec]) -> Mapping[str, TensorSpec]:
        specs = dict(inputs)
        for step, where, output in self._steps:
            missing = [name for name in step.inputs if name not in specs]
            if missing:
                raise InvalidArgumentError(
                    f"{where}: there is no column {missing[0]!r}; known: {', '.join(specs)}"
                )
            try:
                specs[output] = step.infer([specs[name] for name in step.inputs])
            except InvalidArgumentError as error:
                raise InvalidArgumentError(f"{where}: {error}") from None
        unknown = [name for name in self._outputs if name not in specs]
        if unknown:
            raise InvalidArgumentError(
                f"outputs: there is no column {unknown[0]!r}; known: {', '.join(specs)}"
            )
        return {name: specs[name] for name in self._outputs}

    def row_costs(self, inputs: Columns, signature_name: str) -> NDArray[np.float64] | None:
        """Return what decoding each row's images takes of a call; None without such a step."""
        if not self._to_weigh or signature_name != SIGNATURE_NAME:
            return None
        columns = dict(inputs)
        costs = np.zeros(max((len(column) for column in columns.values()), default=0))
        for step, _, output in self._to_weigh:
            if any(name not in columns for name in step.inputs):
                columns.pop(output, None)  # it is made of pixels, or of what cannot be made
            elif isinstance(step, DecodeImage):
                costs += step.row_costs(columns[step.input])
                columns.pop(output, None)
            else:
                try:
                    with np.errstate(all="ignore"):
                        columns[output] = step.apply([columns[name] for name in step.inputs])
                except (InvalidArgumentError, ValueError):  # `predict` will tell
                    columns.pop(output, None)
        return costs

    def predict(self, inputs: Columns, signature_name: str = SIGNATURE_NAME) -> Columns:
        """Return the output columns; InvalidArgumentError names the step that cannot take a row."""
        if signature_name != SIGNATURE_NAME:
            raise unknown_signature(signature_name, [SIGNATURE_NAME])
        columns = {name: inputs[name] for name in self.signatures[SIGNATURE_NAME].inputs}
        # What overflows becomes infinite, and what is no number stays none: no word on it a record.
        with np.errstate(all="ignore"):
            for step, where, output in self._steps:
                try:
                    columns[output] = step.apply([columns[name] for name in step.inputs])
                # numpy's word for sizes that no spec knew.
                except (InvalidArgumentError, ValueError) as error:
                    raise InvalidArgumentError(f"{where}: {error}") from error
        return {name: columns[name] for name in self._outputs}


def load_transform(path: str, file_name: str) -> Transform:
    """Read a version's steps; errors name the file and the place in it."""
    definition = read_json_file(path, file_name, TransformDefinition)
    try:
        return Transform(definition)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{path}: {file_name}: {error}") from None


def _placed(index: int, step: AnyStep) -> PlacedStep:
    name = type(step).__struct_config__.tag
    inputs: Sequence[str] = step.inputs
    return PlacedStep(step, f"steps[{index}] ({name})", step.output or inputs[0])
