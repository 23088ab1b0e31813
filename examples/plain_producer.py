"""Publish records with kafka-python and redis alone, without Topicserve's code.

python examples/plain_producer.py BOOTSTRAP_SERVERS REDIS_URL TOPIC
"""

import json
import sys
import uuid

import kafka
import redis

bootstrap_servers, redis_url, topic = sys.argv[1:]
store = redis.Redis.from_url(redis_url)
producer = kafka.KafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")

sent = []
for row, country in enumerate(["Peru", "Canada", "Kenya"]):
    record_id = str(uuid.uuid4())
    # Metadata first: a worker may read the record at once.
    store.set(f"topicserve:metadata:{record_id}", json.dumps({"row": row}), ex=86_400)
    headers = {
        "ce_specversion": "1.0",
        "ce_type": "topicserve.input",
        "ce_source": "/examples/plain",
        "ce_id": record_id,
        "content-type": "application/json",
    }
    value = json.dumps({"instance": country}).encode()
    as_bytes = [(name, text.encode()) for name, text in headers.items()]
    sent.append(producer.send(topic, value, record_id.encode(), as_bytes))

for future in sent:
    print("published at offset", future.get(timeout=30).offset)
producer.close()
