"""Request handlers: each reads one kind of request, asks the broker's state, and answers.

A module for each subject of the protocol; `apis.py` lists them. A handler is a function of the
broker, the decoded request and the client, on the event loop's thread. It holds no state, and turns
a KafkaError of the state into the error field of what failed, so the rest of the request is
answered all the same. Fields that a version does not have are left out by the encoder.
"""
