"""Whether this worker is traced, decided once at its start."""

from typing import TYPE_CHECKING

from topicserve.tracing import open_tracer
from topicserve.worker.assembly import Connections
from topicserve.worker.parts import Stages
from topicserve.worker.pipeline import Pipeline
from topicserve.worker.runtime.environment import Environment

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider


class Tracing:
    """Traces a worker where an SDK is configured; else it hands everything on as it is."""

    def __init__(self, environment: Environment, provider: "TracerProvider | None" = None) -> None:
        """Decide; `provider` is the one that the program has configured, by default."""
        self._environment = environment
        self._spans = None
        tracer = open_tracer(provider)
        if tracer is not None:
            from topicserve.worker.tracing.spans import WorkerSpans

            group = environment.config.kafka.group_id
            self._spans = WorkerSpans(tracer, group, environment.worker_id)

    def connections(self, connections: Connections) -> Connections:
        """Return the connections, traced if anything is."""
        if self._spans is None:
            return connections
        from topicserve.worker.tracing.traced import traced_connections

        return traced_connections(connections, self._spans, self._environment)

    def pipeline(self, stages: Stages) -> Pipeline:
        """Return the pipeline of these stages, with spans if anything is traced."""
        if self._spans is None:
            return Pipeline(stages, self._environment)
        from topicserve.worker.tracing.traced import TracedPipeline, trace_stages

        trace_stages(stages, self._spans)
        return TracedPipeline(stages, self._environment, self._spans)
