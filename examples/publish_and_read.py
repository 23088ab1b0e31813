"""Publish records with their metadata, and read the results of a worker that serves `capitals`.

python examples/publish_and_read.py BOOTSTRAP_SERVERS REDIS_URL
"""

import sys

from topicserve import Record, RecordProducer, ResultReader

kafka, redis = sys.argv[1:]

with RecordProducer.connect(kafka, redis, topic="records", servable="capitals") as producer:
    for row, country in enumerate(["France", "Japan", "Kenya"]):
        producer.publish(Record(instance=country, metadata={"row": row}))

with ResultReader.connect(kafka, topic="results") as reader:
    for result in reader.read(limit=3, timeout_seconds=30):
        print(f"{result.value} (version {result.version}, metadata {result.metadata})")
