"""The demo: the whole service on handwritten digits, with a version swap and a killed worker."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from topicserve.backends.defaults import DEFAULT_CLIENT
from topicserve.demo import report
from topicserve.demo.deployment import (
    Servers,
    created_topics,
    embedded_servers,
    forget_metadata,
)
from topicserve.demo.digits import Digits, load_digits, train
from topicserve.demo.ledger import MAX_PROBLEMS
from topicserve.demo.screen import Screen
from topicserve.demo.stage import Stage
from topicserve.demo.summary import Summary, summarize
from topicserve.exit_codes import EXIT_FAILED
from topicserve.redact import redact_url

RECORDS_PER_SECOND = 600.0
WEAK_EPOCHS, GOOD_EPOCHS = 1, 40


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What a person may choose; without `servers` the demo starts its own."""

    output: Path
    """A folder that is there."""
    servers: Servers | None = None
    client: str = DEFAULT_CLIENT
    records_per_second: float = RECORDS_PER_SECOND


def run_demo(options: DemoOptions, screen: Screen) -> int:
    """Run the demo and return its exit code: 0 when nothing was lost and nothing is wrong."""
    with ExitStack() as opened:
        opened.enter_context(screen)
        servers = options.servers or opened.enter_context(embedded_servers(options.client))
        redis = redact_url(servers.redis_url)
        screen.step(f"Kafka at {servers.bootstrap_servers}, Redis at {redis}")
        topics = opened.enter_context(created_topics(servers))
        models = Path(opened.enter_context(TemporaryDirectory(prefix="topicserve-demo-")))
        digits = load_digits()
        stage = Stage(
            servers, topics, digits, models, options.output, options.records_per_second, screen
        )
        opened.callback(forget_metadata, servers, stage.ledger)
        opened.enter_context(stage)
        summary = tell(stage, digits, screen)
    return show(stage, summary, digits, options.output, screen)


def tell(stage: Stage, digits: Digits, screen: Screen) -> Summary:
    """Tell the story: serve, swap the version, kill a worker, and count."""
    screen.step(f"train version 1 briefly on {len(digits.labels):,} images, and export it")
    stage.release(1, train(digits, WEAK_EPOCHS))
    screen.step("start two workers in one group")
    first, second = stage.start_workers(2)
    screen.step(f"see what {second.worker_id} does, while it runs: {second.status_page}")

    screen.step("publish every image with its metadata, over and over")
    stage.start_publishing()
    stage.wait_for_answers([first, second], version=1)

    screen.step("train version 2 for longer, and release it while records flow")
    stage.release(2, train(digits, GOOD_EPOCHS))
    stage.wait_for_answers([first, second], version=2)

    screen.step(f"kill {first.worker_id} with SIGKILL; {second.worker_id} takes over")
    killed_at = time.time()
    stage.kill(first)
    stage.wait_for_records(len(digits.labels))

    screen.step("stop publishing, and read every result that is owed")
    stage.finish()
    return summarize(stage.ledger, digits, len(stage.given_up), killed_at)


def show(stage: Stage, summary: Summary, digits: Digits, output: Path, screen: Screen) -> int:
    """Print the table, draw the picture, and say what went wrong."""
    picture = output / "digits.png"
    report.draw(report.samples(stage.ledger), digits, picture)
    screen.print(report.table(summary, stage.memory.peak_bytes, screen.seconds))
    screen.conclude(f"The picture: {picture}; the workers' logs: {output}/worker-*.log")
    problems = summary.problems()
    for problem in [*problems, *stage.ledger.problems, *stage.given_up[:MAX_PROBLEMS]]:
        screen.complain(problem)
    return EXIT_FAILED if problems else 0
