"""How long the end-to-end tests go on: minutes in `make test`, as they need in `make chaos`."""

import os
from dataclasses import dataclass

import pytest

CHAOS = os.environ.get("TOPICSERVE_CHAOS") == "1"

chaos_only = pytest.mark.skipif(not CHAOS, reason="is part of `make chaos`")
"""For what depends on how fast the machine is, or takes long."""

CLIENTS = ("kafka-python", "confluent")
GUARANTEES = ("at_least_once", "exactly_once")
EVERY_WAY = [(client, guarantee) for client in CLIENTS for guarantee in GUARANTEES]
# Each client and each guarantee once.
SOME_WAYS = [("kafka-python", "exactly_once"), ("confluent", "at_least_once")]
WAYS = EVERY_WAY if CHAOS else SOME_WAYS


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of a trouble there is."""

    kills: int
    broker_kills: int
    broker_freezes: int
    outage_seconds: float
    storm_seconds: float
    fuzzed_records: int


SCALE = (
    Scale(
        kills=60,
        broker_kills=6,
        broker_freezes=2,
        outage_seconds=10.0,
        storm_seconds=30.0,
        fuzzed_records=20_000,
    )
    if CHAOS
    else Scale(
        kills=6,
        broker_kills=3,
        broker_freezes=1,
        outage_seconds=3.0,
        storm_seconds=8.0,
        fuzzed_records=20_000,
    )
)
