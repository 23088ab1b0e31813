"""`topicserve` with an SDK of OpenTelemetry's, as its launcher configures one: spans go nowhere."""

import sys
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from topicserve.cli.main import main


class Discarding(SpanExporter):
    """Takes spans, and sends them nowhere."""

    def export(self, spans: Sequence[object]) -> SpanExportResult:  # noqa: ARG002
        """Do nothing."""
        return SpanExportResult.SUCCESS


def discarding_provider() -> TracerProvider:
    """Return a provider that does all that an SDK does, but send."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Discarding()))
    return provider


if __name__ == "__main__":
    trace.set_tracer_provider(discarding_provider())
    sys.exit(main())
