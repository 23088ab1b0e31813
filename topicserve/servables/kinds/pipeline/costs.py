"""What the rows of a pipeline's inputs cost the steps that they go into."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.kinds.pipeline.definition import PipelineStep
from topicserve.servables.kinds.servable import Columns

Weigh = Callable[[PipelineStep, Columns], NDArray[np.float64] | None]


def costs_of_steps(
    steps: tuple[PipelineStep, ...], inputs: Columns, weigh: Weigh
) -> NDArray[np.float64] | None:
    """Return what each row takes of a call, in all steps that are fed with inputs alone.

    What another step is fed with is not known before a call.
    """
    costs: NDArray[Any] | None = None
    for step in steps:
        if any(origin not in inputs for origin in step.inputs.values()):
            continue
        feeds: Mapping[str, NDArray[Any]] = {n: inputs[o] for n, o in step.inputs.items()}
        of_step = weigh(step, feeds)
        if of_step is not None:
            costs = of_step if costs is None else costs + of_step
    return costs
