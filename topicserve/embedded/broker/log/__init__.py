"""What the broker keeps: each partition's records, and a journal of small facts.

    Partition -> Segment, PartitionFiles (records); ProducerStates (idempotence); Journal (the rest)

Records stay in memory as the batches that producers sent; files are for a restart. Every write is
one system call, so that a kill leaves it whole or cut; nothing is synced to the disk.
"""
