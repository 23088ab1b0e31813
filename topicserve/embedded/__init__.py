"""Servers for development and tests: a Kafka-protocol broker and a Redis-protocol server.

Each runs in a process of its own on 127.0.0.1 and ends with its parent. `topicserve stack`, the
demo, the benchmarks and the tests start them; the worker and the producer never import this
package. They are not for production: docs/embedded.md says what they do not do.
"""
