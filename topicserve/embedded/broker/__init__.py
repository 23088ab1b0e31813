"""A broker that speaks Kafka's protocol, in one process and one thread, on asyncio.

    Connection -> frames -> apis -> handlers -> EmbeddedBroker (topics, groups, transactions) -> log

`kafka.protocol`'s classes of kafka-python encode and decode both sides. What it answers is held to
what Apache Kafka answers by one conformance suite (docs/conformance.md). There is no replication,
no authentication, and no compaction.
"""
