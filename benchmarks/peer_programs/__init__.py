"""The job in other frameworks, one a file, each as its documentation says is best.

They run in environments of their own (benchmarks/peer_environments.py). What is the same for all,
the decoding, the model, the join and the encoding, is that of the hand loops.
"""
