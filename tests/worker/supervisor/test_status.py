import json
from typing import Any

from tests.support.stages.status import a_status
from topicserve.worker.supervisor.pages import Fetched
from topicserve.worker.supervisor.status import TogetherStatus


def answer(word: str, rate: float = 0.0, lag: float = 0.0, seconds: float = 0.0) -> Fetched:
    """Return what a replica in this state answers."""
    status = a_status(
        state={"word": word, "sentence": f"It is {word}.", "problems": [], "limited_by": None},
        rates={
            "consumed_per_second": 0.0,
            "results_per_second": rate,
            "dead_letters_per_second": 1.0,
        },
        lag={"records": lag, "seconds": seconds, "partition_count": 0, "partitions": []},
    )
    return Fetched(200, "application/json", json.dumps(status).encode())


def told(*answers: Fetched) -> dict[str, Any]:
    """Return what is told of all together."""
    found: dict[str, Any] = json.loads(TogetherStatus.of(answers).json().body)
    return found


def test_rates_add_up_and_the_worst_state_is_that_of_all() -> None:
    """A look at one place is enough to know that all is well."""
    found = told(answer("keeping_up", 999, 20, 0.4), answer("falling_behind", 499, 5_000, 61.0))

    assert found["state"] == {
        "word": "falling_behind",
        "sentence": "1 of 2 replicas keep up: 1,500 records/s, 5,020 records wait, 61.0 s behind."
        " Replica 1: It is falling_behind.",
    }
    assert [one["state"]["word"] for one in found["replicas"]] == ["keeping_up", "falling_behind"]


def test_a_replica_that_does_not_answer_is_not_ready() -> None:
    """Nor is one whose answer was cut short, or is none of a worker's."""
    cut_short = answer("idle")._replace(body=answer("idle").body[:-5])
    other = Fetched(200, "application/json", b"[]")
    found = told(answer("idle"), Fetched(0), cut_short, other)

    assert found["state"]["word"] == "not_ready"
    assert found["state"]["sentence"].startswith("1 of 4 replicas keep up")
    assert " Replicas 1, 2, 3: no answer" in found["state"]["sentence"]
    assert found["replicas"][1:] == [None, None, None]


def test_of_a_replica_that_is_absent_its_supervisor_tells() -> None:
    """It knows the exit code, and when it starts the next one."""
    problem = "exit code 3, starts again in 4 s"
    together = TogetherStatus.of([answer("idle"), Fetched(0), Fetched(0)], ["", problem, ""])

    found = json.loads(together.json().body)

    assert found["state"]["sentence"].endswith(
        " Replica 1: exit code 3, starts again in 4 s; Replica 2: no answer;"
        " what they read is not counted here."
    )
    assert found["absent"] == [
        {"replica": 1, "problem": problem},
        {"replica": 2, "problem": "no answer"},
    ]


def test_each_replica_that_answers_is_on_the_page() -> None:
    """Under its slot's number."""
    together = TogetherStatus.of([Fetched(0), answer("idle"), answer("stalled")])

    page = together.html("refresh=off").body.decode()

    assert "replica 1: w" in page
    assert "replica 2: w" in page
    assert "It is stalled." in page
    assert '<header class="stalled">' in page
