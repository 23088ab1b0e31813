"""How much of a batch is predicted at once, where the servable says what its rows take.

A batch is bounded in records, rows and bytes. An image of a few kilobytes may hold as many pixels
as are allowed, so some servables say what rows cost them (`CostlyServable`): what comes to more
than MAX_BATCH_COST is left for the next batch. So a batch returns in time, and its memory is
bounded, whatever its records hold.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.kinds.servable import Servable
from topicserve.wire.dead_letter import Reason
from topicserve.worker.stages.calls.arrays import InvalidInputError
from topicserve.worker.stages.calls.feeds import Feed
from topicserve.worker.stages.request import Rejection, Request
from topicserve.worker.telemetry.logging import log_event

MAX_BATCH_COST = 1.0
MAX_RECORD_COST = 4.0
"""A record's rows stay together, so one of several rows that takes more is refused."""


class Affordable(NamedTuple):
    """Which of a batch's requests are predicted now."""

    requests: Sequence[Request]
    first_left: Request | None
    """From here on they are too much."""
    refused: Sequence[Rejection]
    cost: float
    """What those that are predicted come to."""


def affordable(
    requests: Sequence[Request], costs: Mapping[int, float], feeds: Sequence[Feed]
) -> Affordable:
    """Return the requests from the first on that a batch may have, at least one of any cost.

    Their order stays, so that outcomes can be published in it. `costs` are by the requests'
    identity; one without any costs nothing: it is rejected, or predicted alone.
    """
    several = {
        id(request)
        for feed in feeds
        for request, count in zip(feed.requests, feed.counts or (), strict=False)
        if count > 1
    }
    kept: list[Request] = []
    refused: list[Rejection] = []
    total = 0.0
    for request in requests:
        cost = costs.get(id(request), 0.0)
        if round(cost, 2) > MAX_RECORD_COST and id(request) in several:
            refused.append(Rejection(request, Reason.INVALID_INPUT, _too_costly(cost)))
            continue
        if total and total + cost > MAX_BATCH_COST:
            return Affordable(kept, request, refused, total)
        total += cost
        kept.append(request)
    return Affordable(kept, None, refused, total)


def costs_of(
    servable: Servable, servable_id: ServableId, signature_name: str, feeds: Sequence[Feed]
) -> Mapping[int, float] | None:
    """Return what each request takes of a batch, by its identity; None where no row takes much."""
    weigh = getattr(servable, "row_costs", None)
    if weigh is None:
        return None
    costs: dict[int, float] = {}
    for feed in feeds:
        try:
            rows = weigh(feed.columns, signature_name)
            each = None if rows is None else _by_request(rows, feed)
        # A kind of a user's own may raise anything. Each of its records is then a batch's worth.
        except BaseException as error:
            log_event(
                "predict_raised",
                logging.ERROR,
                servable=servable_id.name,
                version=servable_id.version,
                signature=signature_name,
                traceback_of=error,
            )
            each = [MAX_BATCH_COST] * len(feed.requests)
        if each is not None:
            costs |= {id(one): cost for one, cost in zip(feed.requests, each, strict=True)}
    return costs or None


def _by_request(rows: NDArray[np.float64], feed: Feed) -> Sequence[float]:
    costs = np.asarray(rows, np.float64)
    if costs.shape != (feed.rows,) or not (costs >= 0).all():
        raise ValueError(f"row_costs must have a number from 0 for each of {feed.rows} rows")
    if feed.counts is None:
        return list(costs.tolist())
    starts = np.cumsum([0, *feed.counts[:-1]])
    return list(np.add.reduceat(costs, starts).tolist())


def _too_costly(cost: float) -> InvalidInputError:
    return InvalidInputError(
        f"its rows take {cost:.2f} times what a call may take, and those of one record "
        f"{MAX_RECORD_COST:g} times at most; send them as several records"
    )
