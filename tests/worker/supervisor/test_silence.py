"""Replicas that answer nothing are ended, and so started again."""

from tests.support.stages.logged import Logged
from tests.support.stages.records import ManualClock
from tests.worker.supervisor.test_supervisor import Stage
from topicserve.worker.supervisor.pages import Fetched, Replicas
from topicserve.worker.supervisor.silence import SilenceWatch

LIMIT_SECONDS = 160.0


def test_a_replica_that_is_silent_for_too_long_is_ended_and_started_again(logged: Logged) -> None:
    """The others are left alone, and so is its successor."""
    stage, clock = Stage(2), ManualClock()
    answering: set[str] = set()
    replicas = Replicas(
        stage.supervisor.addresses,
        lambda url: Fetched(200 if url.removesuffix("/livez") in answering else 0),
    )
    watch = SilenceWatch(replicas, stage.supervisor.kill_replica, LIMIT_SECONDS, clock)
    stage.step(0)
    for replica in stage.started:
        replica.become_ready()
        answering.add(replica.address)

    watch.step()
    answering.remove(stage.started[1].address)
    clock.advance(LIMIT_SECONDS)
    watch.step()
    assert [replica.exit_code for replica in stage.started] == [None, None]
    clock.advance(1)
    watch.step()
    assert [replica.exit_code for replica in stage.started] == [None, -9]
    stage.step(200)
    stage.step(201)
    clock.advance(2 * LIMIT_SECONDS)
    watch.step()

    assert stage.numbers() == [0, 1, 1]
    assert [replica.exit_code for replica in stage.started] == [None, -9, None]
    assert logged("replica_silent") == [{"replica": 1, "seconds": 161}]


def test_a_replica_that_was_replaced_meanwhile_is_not_ended() -> None:
    """Only the process that was silent is."""
    stage = Stage(1)
    stage.step(0)
    stage.started[0].become_ready()

    assert not stage.supervisor.kill_replica(0, "http://127.0.0.1:1")

    assert stage.started[0].exit_code is None
