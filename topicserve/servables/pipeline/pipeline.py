"""A servable made of other servables."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from topicserve.servables.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ServableError,
    UnavailableError,
)
from topicserve.servables.json_file import read_json_file
from topicserve.servables.pipeline.definition import Definition, Reference, Step
from topicserve.servables.pipeline.fitting import as_fed, fit
from topicserve.servables.pipeline.pins import BuiltOnServables, Pins, pinned
from topicserve.servables.predict_checks import check_rows, unknown_signature
from topicserve.servables.servable import Columns, Signature, TensorSpec

if TYPE_CHECKING:
    from topicserve.servables.kinds import KindContext

SIGNATURE_NAME = "serving_default"


class Pipeline(BuiltOnServables):
    """Calls its steps one after the other, each fed with columns of the steps before.

    Every call takes its servables anew, all at once: within a call they are of one moment, whatever
    is swapped meanwhile, also where a step is a pipeline. A pipeline is available without them; as
    long as one is missing, a call and `signatures` raise UnavailableError, which passes.
    """

    def __init__(self, definition: Definition, context: "KindContext") -> None:
        self._definition = definition
        self._context = context
        self.requests = [step.request for step in definition.steps]
        declared = definition.signature
        self._declared = None if declared is None else declared.read()

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What the file declares, else what the steps available now take and give."""
        if self._declared is not None:
            return {SIGNATURE_NAME: self._declared}
        with pinned(self._context, self.requests) as pins:
            return self.signatures_of(pins)

    def predict(self, inputs: Columns, signature_name: str = SIGNATURE_NAME) -> Columns:
        """Return the pipeline's outputs; an error says at which step it happened."""
        if signature_name != SIGNATURE_NAME:
            raise unknown_signature(signature_name, [SIGNATURE_NAME])
        with pinned(self._context, self.requests) as pins:
            return self.run(inputs, pins, [])

    def run(self, inputs: Columns, pins: Pins, callers: Sequence["Pipeline"]) -> Columns:
        """Return the outputs that these versions give; `callers` are the pipelines around it."""
        _refuse_cycle(self, callers)
        columns: dict[Reference, NDArray[Any]] = dict(inputs)
        rows = len(next(iter(inputs.values())))
        for step in self._definition.steps:
            try:
                outputs = self._call(step, columns, pins, callers)
                check_rows(outputs, rows)
            except ServableError as error:
                raise type(error)(f"step {step.name!r}: {error}") from error
            columns.update({f"{step.name}.{name}": outputs[name] for name in outputs})
        return {name: _find(columns, origin) for name, origin in self._definition.outputs.items()}

    def _call(
        self,
        step: Step,
        columns: Mapping[Reference, NDArray[Any]],
        pins: Pins,
        callers: Sequence["Pipeline"],
    ) -> Columns:
        servable = pins[step.request]
        signature = self._step_signature(step, pins, callers)
        feeds = {
            name: fit(_find(columns, step.inputs[name]), spec, f"input {name!r}")
            for name, spec in signature.inputs.items()
        }
        if isinstance(servable, Pipeline):
            return servable.run(feeds, pins, [*callers, self])
        return servable.predict(feeds, step.signature_name)

    def signatures_of(
        self, pins: Pins, callers: Sequence["Pipeline"] = ()
    ) -> Mapping[str, Signature]:
        """Return what `signatures` does, for these versions."""
        return {SIGNATURE_NAME: self._declared or self.derived_signature(pins, callers)}

    def derived_signature(self, pins: Pins, callers: Sequence["Pipeline"] = ()) -> Signature:
        """Return what goes in and comes out, by the signatures of these versions."""
        _refuse_cycle(self, callers)
        inputs: dict[str, TensorSpec] = {}
        known: dict[Reference, TensorSpec] = {}
        for step in self._definition.steps:
            try:
                signature = self._step_signature(step, pins, callers)
            except ServableError as error:
                raise type(error)(f"step {step.name!r}: {error}") from error
            for name, spec in signature.inputs.items():
                if "." not in step.inputs[name]:
                    inputs.setdefault(step.inputs[name], spec)
            known.update({f"{step.name}.{name}": spec for name, spec in signature.outputs.items()})
        known.update(inputs)
        outputs = {name: _find(known, origin) for name, origin in self._definition.outputs.items()}
        return Signature(inputs, outputs)

    def _step_signature(self, step: Step, pins: Pins, callers: Sequence["Pipeline"]) -> Signature:
        """Return the signature of a step, which takes exactly what the file feeds it with."""
        servable = pins[step.request]
        if isinstance(servable, Pipeline):
            signatures = servable.signatures_of(pins, [*callers, self])
        else:
            signatures = servable.signatures
        signature = signatures.get(step.signature_name)
        if signature is None:
            raise FailedPreconditionError(
                f"{step.request} has no signature {step.signature_name!r}; "
                f"known: {', '.join(sorted(signatures))}"
            )
        signature = as_fed(signature, step.inputs.keys())
        if signature.inputs.keys() != step.inputs.keys():
            raise FailedPreconditionError(
                f"{step.request} takes {', '.join(sorted(signature.inputs))}; "
                f"the pipeline feeds {', '.join(sorted(step.inputs))}"
            )
        return signature


def load_pipeline(path: str, file_name: str, context: "KindContext") -> Pipeline:
    """Read a version's pipeline, and check it against its servables where they are available.

    Raises NotFoundError or InvalidArgumentError naming the file and what is wrong with it.
    """
    definition = read_json_file(path, file_name, Definition)
    try:
        definition.check()
        pipeline = Pipeline(definition, context)
        with pinned(context, pipeline.requests) as pins:
            pipeline.derived_signature(pins)
    except UnavailableError:
        pass  # steps still to come are checked when they are called
    except ServableError as error:
        raise InvalidArgumentError(f"{path}: {file_name}: {error}") from error
    return pipeline


def _refuse_cycle(pipeline: Pipeline, callers: Sequence[Pipeline]) -> None:
    if any(caller is pipeline for caller in callers):
        raise FailedPreconditionError("the pipeline calls itself")


def _find(found: Mapping[Reference, Any], origin: Reference) -> Any:
    if origin not in found:
        step, dot, output = origin.partition(".")
        missing = f"step {step!r} gives no {output!r}" if dot else f"input {origin!r} is missing"
        raise InvalidArgumentError(missing)
    return found[origin]
