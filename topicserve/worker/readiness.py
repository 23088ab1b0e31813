"""Whether the worker is alive and ready, in words for anyone who asks."""

from collections.abc import Callable, Sequence

from topicserve.worker.parts import Stages


class WorkerHealth:
    """Answers /livez and /readyz. Any thread may call it."""

    def __init__(
        self,
        stages: Stages,
        unavailable_servables: Callable[[], Sequence[str]],
        stall_timeout_seconds: float,
        problem_of: Callable[[str], str] = lambda _: "",
        broker_problem: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._stages = stages
        self._unavailable_servables = unavailable_servables
        self._stall_timeout_seconds = stall_timeout_seconds
        self._problem_of = problem_of
        self._broker_problem = broker_problem

    def live(self) -> list[str]:
        """Return why the worker should be started again; nothing means that it is alive."""
        # The polling thread itself may hang: then nothing resets this clock.
        stuck = self._stages.oversight.stall_detector.stalled_seconds()
        if stuck < self._stall_timeout_seconds:
            return []
        return [f"records wait and nothing was committed for {stuck:.0f} seconds"]

    def ready(self) -> list[str]:
        """Return what is missing before records can be served."""
        missing = []
        intake = self._stages.intake
        if not (intake.rebalance.joined or intake.flow.has_joined):
            missing.append("the consumer group has not been joined yet")
        if (problem := self._broker_problem()) is not None:
            missing.append(problem)
        if missing and (problem := intake.flow.consumer_problem()):
            missing.append(f"the consumer's last error: {problem}")
        missing += [
            f"servable {name!r} has no available default version{self._because(name)}"
            for name in self._unavailable_servables()
        ]
        missing += self._stages.oversight.unavailable.problems()
        if self._stages.inference.joiner.unavailable:
            missing.append(
                f"the metadata store is not available: {self._stages.inference.joiner.unavailable}"
            )
        if intake.fetcher is not None:
            missing += intake.fetcher.threads.problems()
        large = self._stages.output.large
        if large is not None and large.unavailable:
            missing.append(f"large results cannot be stored: {large.unavailable}")
        if self._stages.oversight.is_draining:
            missing.append("the worker is shutting down")
        # First: nothing else that passes lets the worker go on.
        return [*self._stages.oversight.breaker.problems, *missing]

    def _because(self, name: str) -> str:
        problem = self._problem_of(name)
        return f": {problem}" if problem else ""
