"""The command as it is typed, on the embedded broker: files, checkpoints, and SIGKILL."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.support.kafka.port import eventually
from topicserve.backends.kafka_clients import open_broker
from topicserve.cli.main import main
from topicserve.cli.publish.checkpoint import State
from topicserve.cli.publish.window import MAX_UNSAVED_ROWS
from topicserve.embedded.stack import Stack
from topicserve.producer.result_reader import open_consumer
from topicserve.producer.topic_reader import TopicReader
from topicserve.wire.input_record import InputRecord, decode_input

pytestmark = pytest.mark.servers

LIMIT_SECONDS = 60.0
STEP_SECONDS = 0.01
ROWS = 9_000


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Run both servers."""
    with Stack() as running:
        yield running


def command(stack: Stack, file: Path, topic: str, *flags: str) -> list[str]:
    """Return the words of a command."""
    return [
        *("publish", str(file), f"--topic={topic}", "--create-topics=2"),
        *(f"--bootstrap-servers={stack.bootstrap_servers}", f"--redis-url={stack.redis_url}"),
        *flags,
    ]


def published(stack: Stack, topic: str) -> list[InputRecord]:
    """Return what the topic holds."""
    consumer = open_consumer(stack.bootstrap_servers, None, "kafka-python", None)
    with TopicReader(consumer, topic, decode_input) as reader:
        return list(reader.read(until_end=True))


def test_a_file_is_published_once(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A complete checkpoint says so the next time."""
    file = tmp_path / "rows.csv"
    file.write_text("x,user\n" + "".join(f"{n}.5,{n}\n" for n in range(50)))
    words = command(
        stack, file, "once", "--metadata-columns=user", f"--checkpoint={tmp_path / 'state'}"
    )

    assert [main(words), main(words)] == [0, 0]

    assert sorted(record.payload["x"] for record in published(stack, "once")) == [
        n + 0.5 for n in range(50)
    ]
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("published 50 records in ")
    assert told[1].startswith("nothing is left: 50 published, 0 skipped")


@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_checkpoint_is_of_one_topic(
    client: str, stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not of one that was created again under its name: nothing of the file is in it."""
    file, topic = tmp_path / "rows.jsonl", f"again-{client}"
    file.write_text('{"instance": 1}\n{"instance": 2}\n')
    words = command(stack, file, topic, f"--checkpoint={tmp_path / 'state'}", f"--client={client}")
    assert main(words) == 0
    with closing(
        open_broker(client, {"bootstrap.servers": stack.bootstrap_servers}).admin()
    ) as admin:
        assert admin.delete_topic(topic, LIMIT_SECONDS)
        eventually(lambda: admin.partitions(topic, LIMIT_SECONDS) is None)
        gone = main(words)
        assert admin.create_topic(topic, 1, LIMIT_SECONDS)
        capsys.readouterr()

    assert [gone, main(words)] == [2, 2]
    assert "counts 2 records of topic" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0
    assert "nothing is left: 2 published" in capsys.readouterr().err


def test_a_failure_is_told_with_its_place(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And with what to do; exit code 1."""
    file = tmp_path / "rows.npz"
    np.savez(file, x=np.array(["a", "x" * 3_000_000, "b"]))
    words = command(stack, file, "failing", f"--checkpoint={tmp_path / 'state'}")

    assert main(words) == 1
    told = capsys.readouterr().err
    assert f"{file}: row 2 was not published: " in told
    assert "run the same command again" in told

    assert "--kafka-setting max.request.size=BYTES, and max.message.bytes" in told

    assert main([*words, "--skip-invalid"]) == 0
    told = capsys.readouterr().err
    assert f"{file}: row 2: " in told
    assert "--kafka-setting max.request.size=BYTES, and max.message.bytes" in told
    assert "skipped 1 invalid or refused record\n" in told
    values = Counter(record.payload["x"] for record in published(stack, "failing"))
    assert set(values) == {"a", "b"}
    assert values["a"] == 1


def test_a_file_of_which_no_row_is_published_has_failed(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script must not take it for done, also not the next time."""
    file = tmp_path / "rows.jsonl"
    file.write_text("7\n8\n")
    words = command(stack, file, "invalid", "--skip-invalid", f"--checkpoint={tmp_path / 'state'}")

    assert [main(words), main(words)] == [1, 1]
    told = capsys.readouterr().err
    assert "no record was published: every row was invalid or refused" in told

    file.write_text('7\n{"instance": 8}\n')
    assert main(command(stack, file, "invalid", "--skip-invalid")) == 0


def test_killed_twice_it_loses_nothing_and_repeats_no_more_than_was_in_flight(
    stack: Stack, tmp_path: Path
) -> None:
    """What is sent twice has the same id both times."""
    file, state = tmp_path / "rows.parquet", tmp_path / "state"
    parquet.write_table(pa.table({"n": np.arange(ROWS)}), file, row_group_size=4_000)
    words = command(stack, file, "killed", f"--checkpoint={state}", "--client=confluent")

    for position in (2_000, 5_000):
        kill_behind(position, state, words)
    assert main(words) == 0

    ids: dict[int, set[str]] = {}
    copies: Counter[int] = Counter()
    for record in published(stack, "killed"):
        number = record.payload["n"]
        ids.setdefault(number, set()).add(record.record_id)
        copies[number] += 1
    assert copies.keys() == set(range(ROWS))
    assert all(len(known) == 1 for known in ids.values())
    assert copies.total() - ROWS <= 2 * MAX_UNSAVED_ROWS
    final = msgspec.json.decode(state.read_bytes(), type=State)
    assert (final.published, final.complete) == (ROWS, True)


def kill_behind(position: int, state: Path, words: list[str]) -> None:
    """Run the command, and kill it once its checkpoint is behind a position."""
    process = subprocess.Popen(
        [sys.executable, "-m", "topicserve", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )
    patience = threading.Event()
    try:
        for _ in range(int(LIMIT_SECONDS / STEP_SECONDS)):
            if state.exists():
                found = msgspec.json.decode(state.read_bytes(), type=State).position
                if found is not None and int(found) >= position:
                    break
            assert process.poll() is None
            patience.wait(STEP_SECONDS)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT_SECONDS)
