"""Read results in a program on asyncio; several are handled at once.

python examples/asyncio_reader.py BOOTSTRAP_SERVERS TOPIC GROUP COUNT
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from topicserve import Result, ResultReader

TOGETHER = 8


def read(reader: ResultReader, limit: int) -> list[Result]:
    """Wait for results."""
    return list(reader.read(limit=limit, timeout_seconds=30))


async def results(kafka: str, topic: str, group: str, count: int) -> AsyncIterator[list[Result]]:
    """Yield lists of results, and commit each list once its turn is over.

    One thread belongs to the reader: a Kafka consumer may only be used by one.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:
        reader = await loop.run_in_executor(
            thread, lambda: ResultReader.connect(kafka, topic, group_id=group)
        )
        try:
            while count > 0:
                some = await loop.run_in_executor(thread, read, reader, min(count, TOGETHER))
                if not some:
                    return
                yield some
                await loop.run_in_executor(thread, reader.commit)
                count -= len(some)
        finally:
            await loop.run_in_executor(thread, reader.close)


async def handle(result: Result) -> None:
    """Do what the program does with a result; here, a stand-in for a call that waits."""
    await asyncio.sleep(0)
    print(f"{result.value} (version {result.version}, metadata {result.metadata})")


async def main() -> None:
    """Handle the results of each list side by side."""
    kafka, topic, group, count = sys.argv[1:]
    async for some in results(kafka, topic, group, int(count)):
        async with asyncio.TaskGroup() as tasks:
            for result in some:
                tasks.create_task(handle(result))


asyncio.run(main())
