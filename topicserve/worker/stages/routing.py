"""Which servable and version a record goes to."""

import zlib
from collections.abc import Callable, Collection, Iterable

from topicserve.errors import TopicserveError
from topicserve.wire.headers import ServableSpec
from topicserve.worker.config.served import ServedConfig
from topicserve.worker.stages.request import Route
from topicserve.worker.telemetry.metrics import WorkerMetrics

DEFAULT_SIGNATURE = "serving_default"
# Producers ask for few different things; more than this are worked out again each time.
_REMEMBERED_ROUTES = 4096
_REMEMBERED_CHARACTERS = 512


class UnknownServableError(TopicserveError):
    """A record names a servable that this worker does not serve, or none where it must."""


def unknown_servable(name: str, served: Collection[str]) -> UnknownServableError:
    """Return the error of a record for this name, or for none; it says what is served."""
    says = f"is {name!r}, which is" if name else "is missing, and there is more than one:"
    if not name and not served:
        says = "is missing, and nothing is served:"
    known = ", ".join(sorted(served)) or "nothing"
    return UnknownServableError(f"ce_servable {says} not served here; served: {known}")


def share_of(record_id: str) -> float:
    """Return a number in [0, 1) that is the same for a record id wherever and whenever asked.

    Canaries and shadows take the records below their share, so that a record keeps its version
    over replays, and a larger share includes the smaller one's records.
    """
    return zlib.crc32(record_id.encode()) / 2**32


class Router:
    """Turns what a record asks for into a route. Used by one thread."""

    def __init__(
        self,
        served: Iterable[ServedConfig],
        names: Callable[[], Iterable[str]],
        default_servable: str,
        metrics: WorkerMetrics,
    ) -> None:
        self._names = names
        self._default_servable = default_servable
        self._metrics = metrics
        self._canaries = {entry.name: entry.canary for entry in served if entry.canary is not None}
        self._routes: dict[ServableSpec, Route] = {}
        # By the target's identity; a target in it is kept, so that no other gets its id.
        self._by_identity: dict[int, tuple[ServableSpec, Route]] = {}
        self._served = tuple(names())

    def follow(self) -> None:
        """Forget the routes where other servables are configured now; called for every poll."""
        served = tuple(self._names())
        if served != self._served:
            self._served = served
            self._forget()

    def route(self, target: ServableSpec, record_id: str) -> Route:
        """Return the route, or raise UnknownServableError."""
        # What producers repeat is one and the same object, which costs no look at its parts.
        known = self._by_identity.get(id(target))
        route = self._look_up(target) if known is None else known[1]
        if self._canaries and route.version is None and route.label is None:
            return self._with_canary(route, record_id)
        return route

    def _look_up(self, target: ServableSpec) -> Route:
        route = self._routes.get(target)
        if route is None:
            route = self._work_out(target)
            if (
                sum(
                    map(
                        len,
                        (target.servable or "", target.label or "", target.signature_name or ""),
                    )
                )
                > _REMEMBERED_CHARACTERS
            ):
                return route
            if len(self._routes) >= _REMEMBERED_ROUTES:
                self._forget()
            self._routes[target] = route
        if len(self._by_identity) >= _REMEMBERED_ROUTES:
            self._by_identity.clear()  # of bodies that name their signature, each has its own
        self._by_identity[id(target)] = target, route
        return route

    def _forget(self) -> None:
        self._routes.clear()
        self._by_identity.clear()

    def _work_out(self, target: ServableSpec) -> Route:
        served = sorted(self._names())
        name = target.servable or self._default_servable
        if not name and len(served) == 1:
            (name,) = served
        if name not in served:
            raise unknown_servable(name, served)
        return Route(name, target.version, target.label, target.signature_name or DEFAULT_SIGNATURE)

    def _with_canary(self, route: Route, record_id: str) -> Route:
        canary = self._canaries.get(route.servable)
        if canary is None or share_of(record_id) >= canary.share:
            return route
        self._metrics.canary_records.labels(route.servable).inc()
        return Route(
            route.servable, canary.version, canary.label, route.signature_name, is_canary=True
        )
