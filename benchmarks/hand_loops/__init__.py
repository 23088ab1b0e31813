"""The job written by hand, with care for speed and none for anything else, one client a file.

No validation, no dead letters, no versions, no back-pressure, no rebalance handling, no metrics.
They are what a worker is measured against. At-least-once by flush and commit every half second.
"""
