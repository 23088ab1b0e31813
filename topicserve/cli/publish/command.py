"""`topicserve publish`: opens what the flags name, and says what became of it.

It opens everything in the order in which a mistake is cheapest to find: the file, the flags, the
checkpoint, the store, the broker.
"""

import argparse
from contextlib import ExitStack, closing, suppress

from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.cli.connection import identity_of, need_topic, open_broker_of
from topicserve.cli.progress import CountProgress
from topicserve.cli.publish.checkpoint import Checkpoint
from topicserve.cli.publish.publishing import Publishing, metadata_of, problem_of
from topicserve.cli.publish.rows import RowSource
from topicserve.cli.publish.sources import open_source, record_flags
from topicserve.cli.terminal import counted, say
from topicserve.exit_codes import EXIT_FAILED
from topicserve.producer.arguments import topic_name
from topicserve.producer.errors import PublishError
from topicserve.producer.record_producer import RecordProducer

# Of 0.2 s: a cluster tells of a topic that was just created a moment later.
_NEW_TOPIC_STEPS = 25


def run(arguments: argparse.Namespace) -> int:
    """Publish every row, and return once all are acknowledged.

    The exit code is 1 where a row was not published: the command ends at the first one, with its
    place and the reason. Rows that --skip-invalid leaves out do not change it, unless no other was
    published: then it is likely that none can be.
    """
    with ExitStack() as opened:
        source = opened.enter_context(closing(open_source(arguments)))
        # What is only typed wrongly is said before the brokers are waited for.
        topic_name(arguments.topic)
        metadata_of(arguments)
        store = RedisMetadataStore(
            arguments.redis_url,
            key_prefix=arguments.key_prefix,
            ttl_seconds=arguments.ttl_seconds,
        )
        checkpoint = None
        if arguments.checkpoint is not None:
            checkpoint = opened.enter_context(
                Checkpoint(
                    arguments.checkpoint,
                    arguments.topic,
                    source.identity(),
                    record_flags(arguments),
                    force=arguments.force,
                )
            )
        _need_topic(arguments, checkpoint)
        if checkpoint is not None and checkpoint.state.complete:
            say(f"nothing is left: {_done(checkpoint)}")
            state = checkpoint.state
            return EXIT_FAILED if state.skipped and not state.published else 0
        producer = RecordProducer(
            open_broker_of(arguments).producer(),
            store,
            arguments.topic,
            servable=arguments.servable,
            source=arguments.source,
        )
        return _publish(arguments, source, producer, store, checkpoint)


def _need_topic(arguments: argparse.Namespace, checkpoint: Checkpoint | None) -> None:
    """Raise UsageError where there is no topic, or not the one of the checkpoint."""
    topic = arguments.topic
    if checkpoint is not None:
        checkpoint.need_topic(identity_of(arguments, topic))  # before one is created
    need_topic(arguments, topic, arguments.create_topics)
    if checkpoint is not None:
        checkpoint.need_topic(identity_of(arguments, topic, wait_steps=_NEW_TOPIC_STEPS))


def _publish(
    arguments: argparse.Namespace,
    source: RowSource,
    producer: RecordProducer,
    store: RedisMetadataStore,
    checkpoint: Checkpoint | None,
) -> int:
    start = checkpoint.state.position if checkpoint else None
    if checkpoint is not None and checkpoint.is_begun:
        say(f"going on behind {start}: {_done(checkpoint)}")
    total = source.left(start)
    if total is not None and arguments.limit is not None:
        total = min(total, arguments.limit)
    with CountProgress(
        "published", total=total, fraction=source.fraction, waiting_for=producer.waiting_for
    ) as progress:
        publishing = Publishing(arguments, producer, store, progress, checkpoint)
        try:
            with suppress(PublishError), producer:  # the window has the first failure
                publishing.run(source)
        finally:
            # What an interrupted command has sent was acknowledged meanwhile.
            publishing.window.finish(complete=False)
    return _told(publishing, source, checkpoint)


def _told(publishing: Publishing, source: RowSource, checkpoint: Checkpoint | None) -> int:
    window = publishing.window
    skipped = window.skipped + source.skipped_rows
    if skipped:
        say(f"skipped {counted(skipped, 'invalid or refused record')}")
    if window.failure is None:
        published = window.published + (checkpoint.state.published if checkpoint else 0)
        if published or not skipped:
            return 0
        say("topicserve: no record was published: every row was invalid or refused")
        return EXIT_FAILED
    place, error = window.failure
    again = "run the same command again to go on from there" if checkpoint else "correct the cause"
    say(f"topicserve: {place} was not published: {problem_of(error)}; {again}")
    return EXIT_FAILED


def _done(checkpoint: Checkpoint) -> str:
    state = checkpoint.state
    return f"{state.published:,} published, {state.skipped:,} skipped ({checkpoint.path})"
