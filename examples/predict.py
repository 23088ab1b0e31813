"""Ask for a prediction and wait for it, as a web handler does; several requests at once.

python examples/predict.py BOOTSTRAP_SERVERS REDIS_URL INPUT_TOPIC OUTPUT_TOPIC DEAD_LETTER_TOPIC
"""

import asyncio
import sys

from topicserve import AsyncPredictClient, DeadLetterError, PredictTimeoutError


async def handle(client: AsyncPredictClient, country: object, user: int) -> str:
    """Answer one request; what a web framework would call."""
    try:
        result = await client.predict(instance=country, metadata={"user": user}, timeout=20.0)
    except DeadLetterError as error:
        return f"{country}: refused, {error.reason.value}"
    except PredictTimeoutError:
        return f"{country}: no answer in time"
    return f"{country}: {result.value} for user {result.metadata['user']}"


async def main() -> None:
    """Open one client for the whole process, and answer requests side by side."""
    kafka, redis, inputs, outputs, dead_letters = sys.argv[1:]
    async with AsyncPredictClient.connect(
        kafka, redis, inputs, outputs, dead_letter_topic=dead_letters, servable="capitals"
    ) as client:
        await client.wait_ready(30.0)
        requests = enumerate(["Peru", "Canada", "Kenya", 7])
        answers = [handle(client, country, user) for user, country in requests]
        for answer in await asyncio.gather(*answers):
            print(answer)


asyncio.run(main())
