"""`python -m topicserve`: the same as the program `topicserve`."""

import sys

from topicserve.cli.main import main

sys.exit(main())
