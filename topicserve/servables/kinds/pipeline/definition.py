"""What a pipeline's JSON file says, checked as far as it can be without its servables."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

import msgspec

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.kinds.json_file import TensorSpecJson
from topicserve.servables.kinds.servable import Signature

Reference = str
"""Where a column comes from: an input of the pipeline's, or `step.output` of an earlier step."""

Name = Annotated[str, msgspec.Meta(min_length=1, pattern="^[^.]*$")]
References = Annotated[dict[str, Reference], msgspec.Meta(min_length=1)]
Version = Annotated[int, msgspec.Meta(ge=0)]


class PipelineStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One call of a servable: the latest version, or the one that a number or a label names."""

    name: Name
    servable: str
    version: Version | None = None
    label: str | None = None
    signature_name: str = "serving_default"
    inputs: References
    """By the input's name in the signature."""

    @property
    def request(self) -> ServableRequest:
        """Return what the core is asked for."""
        if self.version is not None:
            return ServableRequest.specific(self.servable, self.version)
        if self.label is not None:
            return ServableRequest.labelled(self.servable, self.label)
        return ServableRequest.latest(self.servable)


class SignatureJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the pipeline takes and gives, where its author says so."""

    inputs: Mapping[str, TensorSpecJson]
    outputs: Mapping[str, TensorSpecJson]

    def read(self) -> Signature:
        """Return what it says."""
        return Signature(
            {name: spec.read() for name, spec in self.inputs.items()},
            {name: spec.read() for name, spec in self.outputs.items()},
        )


class PipelineDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file: steps in their order, what comes out, and optionally a signature.

    Without a signature it is derived from those of the steps.
    """

    steps: Annotated[tuple[PipelineStep, ...], msgspec.Meta(min_length=1, max_length=100)]
    outputs: References
    """By the name that the pipeline gives it."""
    signature: SignatureJson | None = None

    def references(self) -> Iterator[Reference]:
        """Yield every reference of the file."""
        for step in self.steps:
            yield from step.inputs.values()
        yield from self.outputs.values()

    def input_names(self) -> list[str]:
        """Return the names of what the pipeline is fed with."""
        return sorted({reference for reference in self.references() if "." not in reference})

    def used_outputs(self, wanted: Iterable[str]) -> dict[str, frozenset[str]]:
        """Return which outputs of which steps go into these outputs of the pipeline's."""
        references = [self.outputs[name] for name in wanted]
        used: dict[str, set[str]] = {}
        for step in reversed(self.steps):
            own = {
                name.partition(".")[2] for name in references if name.startswith(f"{step.name}.")
            }
            if own:
                used[step.name] = own
                references += step.inputs.values()
        return {name: frozenset(outputs) for name, outputs in used.items()}

    def check(self) -> None:
        """Raise InvalidArgumentError where steps and signature contradict one another."""
        earlier: set[str] = set()
        for step in self.steps:
            where = f"step {step.name!r}"
            if step.name in earlier:
                raise InvalidArgumentError(f"{where}: an earlier step has the same name")
            if step.version is not None and step.label is not None:
                raise InvalidArgumentError(f"{where}: must have a version or a label, not both")
            _check_references(step.inputs, earlier, where)
            earlier.add(step.name)
        _check_references(self.outputs, earlier, "outputs")
        if self.signature is not None:
            _check_names("inputs", self.signature.inputs, self.input_names())
            _check_names("outputs", self.signature.outputs, sorted(self.outputs))


def _check_references(references: Mapping[str, Reference], earlier: set[str], where: str) -> None:
    for name, reference in references.items():
        step, dot, _ = reference.partition(".")
        if dot and step not in earlier:
            known = ", ".join(sorted(earlier)) or "none"
            raise InvalidArgumentError(
                f"{where}: {name!r} comes from {reference!r}, but the steps before are: {known}"
            )


def _check_names(side: str, declared: Mapping[str, object], used: list[str]) -> None:
    if sorted(declared) != used:
        raise InvalidArgumentError(
            f"signature.{side}: must be what the steps use, {', '.join(used)}; "
            f"found {', '.join(sorted(declared))}"
        )
