"""Read results in a program on asyncio; several are handled at once.

python examples/asyncio_reader.py BOOTSTRAP_SERVERS TOPIC GROUP COUNT
"""

import asyncio
import sys

from topicserve import AsyncResultReader, Result

TOGETHER = 8


async def handle(result: Result) -> None:
    """Do what the program does with a result; here, a stand-in for a call that waits."""
    await asyncio.sleep(0)
    print(f"{result.value} (version {result.version}, metadata {result.metadata})")


async def main() -> None:
    """Handle results side by side, and commit a list once all of it is handled."""
    kafka, topic, group, count = sys.argv[1:]
    left = int(count)
    async with AsyncResultReader.connect(kafka, topic, group_id=group) as reader:
        while left > 0:
            limit = min(left, TOGETHER)
            some = [result async for result in reader.read(limit=limit, timeout_seconds=30)]
            if not some:
                return
            async with asyncio.TaskGroup() as tasks:
                for result in some:
                    tasks.create_task(handle(result))
            await reader.commit()
            left -= len(some)


asyncio.run(main())
