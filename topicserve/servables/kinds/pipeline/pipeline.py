"""A servable made of other servables."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ServableError,
    UnavailableError,
)
from topicserve.servables.kinds.json_file import read_json_file
from topicserve.servables.kinds.own_arrays import own_arrays
from topicserve.servables.kinds.pipeline.costs import costs_of_steps
from topicserve.servables.kinds.pipeline.definition import (
    PipelineDefinition,
    PipelineStep,
    Reference,
)
from topicserve.servables.kinds.pipeline.fitting import as_fed, check_dtypes, fit
from topicserve.servables.kinds.pipeline.pins import NOTHING, BuiltOnServables, Held, Pins, pinned
from topicserve.servables.kinds.pipeline.scopes import (
    in_dtypes_of,
    input_of_both,
    may_be_shared,
    outputs_of_step,
    with_scopes_of,
)
from topicserve.servables.kinds.predict_checks import check_rows, rows_of, unknown_signature
from topicserve.servables.kinds.servable import Columns, Servable, Signature, TensorSpec

if TYPE_CHECKING:
    from topicserve.servables.kinds.registry import KindContext

SIGNATURE_NAME = "serving_default"


class PipelineServable(BuiltOnServables):
    """Calls its steps one after the other, each fed with columns of the steps before.

    Every call takes its servables, all at once: within a call they are of one moment, whatever is
    swapped meanwhile, also where a step is a pipeline. A pipeline is available without them; as
    long as one is missing, a call and `signatures` raise UnavailableError, which passes.
    """

    returns_new_arrays = True

    def __init__(self, definition: PipelineDefinition, context: "KindContext") -> None:
        self._definition = definition
        self._context = context
        self.requests = [step.request for step in definition.steps]
        self._uses = Counter(definition.references())
        declared = definition.signature
        self._declared = None if declared is None else declared.read()

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What the file declares, with the scopes of its steps; else what the steps show.

        What has rows the steps alone show: while one of them is missing, nothing is known.
        """
        with pinned(self._context, self.requests) as pins:
            return self.signatures_of(pins)

    @contextmanager
    def hold(self, instead: Mapping[str, int] = NOTHING) -> Iterator[Held]:
        """Hold the steps of one moment for several calls; UnavailableError where one is missing."""
        latest: dict[str, int] = {}
        with pinned(self._context, self.requests, instead, latest) as pins:
            yield Held(HeldPipeline(self, pins), latest)

    def predict(self, inputs: Columns, signature_name: str = SIGNATURE_NAME) -> Columns:
        """Return the pipeline's outputs; an error says at which step it happened."""
        with pinned(self._context, self.requests) as pins:
            return HeldPipeline(self, pins).predict(inputs, signature_name)

    def predict_outputs(
        self, inputs: Columns, signature_name: str, outputs: Collection[str]
    ) -> Columns:
        """Return these outputs, by the steps that they need alone."""
        with pinned(self._context, self.requests) as pins:
            return HeldPipeline(self, pins).predict_outputs(inputs, signature_name, outputs)

    @property
    def output_names(self) -> Collection[str]:
        """Return the names of all outputs."""
        return self._definition.outputs

    def run(
        self,
        inputs: Columns,
        pins: Pins,
        callers: Sequence["PipelineServable"],
        wanted: Collection[str],
    ) -> Columns:
        """Return the outputs that these versions give; `callers` are the pipelines around it."""
        _refuse_cycle(self, callers)
        columns: dict[Reference, NDArray[Any]] = dict(inputs)
        used = self._definition.used_outputs(wanted)
        for step in self._definition.steps:
            if step.name not in used:
                continue
            try:
                outputs = self._call(step, used[step.name], columns, pins, callers)
            except ServableError as error:
                raise type(error)(f"step {step.name!r}: {error}") from error
            columns.update({f"{step.name}.{name}": outputs[name] for name in outputs})
        return {name: _find(columns, self._definition.outputs[name]) for name in wanted}

    def row_costs(self, inputs: Columns, pins: Pins) -> NDArray[Any] | None:
        """Return what each row takes of a call, as far as these versions say so."""

        def weigh(step: PipelineStep, feeds: Columns) -> NDArray[Any] | None:
            servable = pins[step.request]
            if isinstance(servable, PipelineServable):
                return servable.row_costs(feeds, pins)
            own = getattr(servable, "row_costs", None)
            return None if own is None else own(feeds, step.signature_name)

        return costs_of_steps(self._definition.steps, inputs, weigh)

    def _call(
        self,
        step: PipelineStep,
        used: Collection[str],
        columns: Mapping[Reference, NDArray[Any]],
        pins: Pins,
        callers: Sequence["PipelineServable"],
    ) -> Columns:
        servable = pins[step.request]
        signature = self._step_signature(step, used, pins, callers)
        feeds = {
            name: fit(self._own(columns, step.inputs[name]), spec, f"input {name!r}")
            for name, spec in signature.inputs.items()
        }
        rows = rows_of(feeds, signature.inputs)
        outputs = _predict(servable, feeds, step.signature_name, signature, pins, [*callers, self])
        if rows is not None:
            check_rows(outputs, rows, signature.outputs)
        return outputs

    def _own(self, columns: Mapping[Reference, NDArray[Any]], origin: Reference) -> NDArray[Any]:
        """Return a column that a step may change: a copy where something else uses it too."""
        column: NDArray[Any] = _find(columns, origin)
        return column.copy() if self._uses[origin] > 1 else column

    def signatures_of(
        self, pins: Pins, callers: Sequence["PipelineServable"] = ()
    ) -> Mapping[str, Signature]:
        """Return what `signatures` does, for these versions."""
        try:
            derived = self.derived_signature(pins, callers)
        except UnavailableError:
            raise
        except ServableError:
            if self._declared is None:
                raise
            return {SIGNATURE_NAME: self._declared}
        if self._declared is not None:
            derived = with_scopes_of(self._declared, derived)
        return {SIGNATURE_NAME: derived}

    def derived_signature(
        self, pins: Pins, callers: Sequence["PipelineServable"] = ()
    ) -> Signature:
        """Return what goes in and comes out, by the signatures of these versions."""
        _refuse_cycle(self, callers)
        signatures = self._step_signatures(pins, callers)
        inputs: dict[str, TensorSpec] = {}
        for step, signature in zip(self._definition.steps, signatures, strict=True):
            for name, spec in signature.inputs.items():
                origin = step.inputs[name]
                if "." not in origin:
                    inputs[origin] = input_of_both(inputs.get(origin, spec), spec)
        known: dict[Reference, TensorSpec] = dict(in_dtypes_of(self._declared, inputs))
        is_shared = True
        for step, signature in zip(self._definition.steps, signatures, strict=True):
            sources = {name: _find(known, step.inputs[name]) for name in signature.inputs}
            check_dtypes(signature, sources, f"step {step.name!r}")
            outputs = outputs_of_step(signature, sources)
            is_shared = is_shared and may_be_shared(signature, sources)
            known.update({f"{step.name}.{name}": spec for name, spec in outputs.items()})
        return Signature(
            inputs,
            {name: _find(known, origin) for name, origin in self._definition.outputs.items()},
            rows_are_independent=all(one.rows_are_independent for one in signatures),
            parts=tuple(map(id, pins.values())),
            # One step that rows of several records must not go through keeps them all apart.
            is_called_alone=not is_shared,
        )

    def _step_signatures(
        self, pins: Pins, callers: Sequence["PipelineServable"]
    ) -> list[Signature]:
        """Return what each step takes, and of what it gives that which the pipeline uses."""
        used = self._definition.used_outputs(self._definition.outputs)
        found = []
        for step in self._definition.steps:
            try:
                found.append(self._step_signature(step, used.get(step.name, ()), pins, callers))
            except ServableError as error:
                raise type(error)(f"step {step.name!r}: {error}") from error
        return found

    def _step_signature(
        self,
        step: PipelineStep,
        used: Collection[str],
        pins: Pins,
        callers: Sequence["PipelineServable"],
    ) -> Signature:
        """Return what the pipeline uses of a step's signature: all inputs, and these outputs.

        It must take exactly what the file feeds it with.
        """
        servable = pins[step.request]
        if isinstance(servable, PipelineServable):
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
        known = [name for name in signature.outputs if name in used]
        return signature.with_outputs(known) if known else signature


class HeldPipeline:
    """A pipeline with the versions of one moment, for any number of calls."""

    returns_new_arrays = True

    def __init__(self, pipeline: PipelineServable, pins: Pins) -> None:
        self._pipeline = pipeline
        self._pins = pins

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What the pipeline takes and gives with these versions."""
        return self._pipeline.signatures_of(self._pins)

    def row_costs(self, inputs: Columns, signature_name: str) -> NDArray[Any] | None:
        """Return what each row takes of a call, None where no step says so."""
        if signature_name != SIGNATURE_NAME:
            return None
        return self._pipeline.row_costs(inputs, self._pins)

    def predict(self, inputs: Columns, signature_name: str = SIGNATURE_NAME) -> Columns:
        """Return all outputs."""
        return self.predict_outputs(inputs, signature_name, self._pipeline.output_names)

    def predict_outputs(
        self, inputs: Columns, signature_name: str, outputs: Collection[str]
    ) -> Columns:
        """Return these outputs, by the steps that they need alone."""
        if signature_name != SIGNATURE_NAME:
            raise unknown_signature(signature_name, [SIGNATURE_NAME])
        return self._pipeline.run(inputs, self._pins, [], outputs)


def load_pipeline(path: str, file_name: str, context: "KindContext") -> PipelineServable:
    """Read a version's pipeline, and check it against its servables where they are available.

    Raises NotFoundError or InvalidArgumentError naming the file and what is wrong with it.
    """
    definition = read_json_file(path, file_name, PipelineDefinition)
    try:
        definition.check()
        pipeline = PipelineServable(definition, context)
        with pinned(context, pipeline.requests) as pins:
            pipeline.derived_signature(pins)
    except UnavailableError:
        pass  # steps still to come are checked when they are called
    except ServableError as error:
        raise InvalidArgumentError(f"{path}: {file_name}: {error}") from error
    return pipeline


def _predict(
    servable: Servable,
    feeds: Columns,
    signature_name: str,
    signature: Signature,
    pins: Pins,
    callers: Sequence[PipelineServable],
) -> Columns:
    """Call a step for the outputs of this signature, where it can compute them alone."""
    if isinstance(servable, PipelineServable):
        return servable.run(feeds, pins, callers, signature.outputs)
    select = getattr(servable, "predict_outputs", None)
    if select is None:
        return own_arrays(servable, servable.predict(feeds, signature_name))
    return own_arrays(servable, select(feeds, signature_name, signature.outputs))


def _refuse_cycle(pipeline: PipelineServable, callers: Sequence[PipelineServable]) -> None:
    if any(caller is pipeline for caller in callers):
        raise FailedPreconditionError("the pipeline calls itself")


def _find(found: Mapping[Reference, Any], origin: Reference) -> Any:
    if origin not in found:
        step, dot, output = origin.partition(".")
        missing = f"step {step!r} gives no {output!r}" if dot else f"input {origin!r} is missing"
        raise InvalidArgumentError(missing)
    return found[origin]
