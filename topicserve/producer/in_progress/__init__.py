"""Records between `publish` and their acknowledgement: the queue, and the wait for the store."""
