"""What a process of Topicserve ends with; docs/operations.md says when.

For the program and the supervisor, which decides by them whether a replica is started again.
"""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BREAKER_OPEN = 3
EXIT_INTERRUPTED = 130  # as a shell reports a program ended by SIGINT
EXIT_BROKEN_PIPE = 141  # and by SIGPIPE
