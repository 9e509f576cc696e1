"""A worker process that counts, for tests that send signals: `python -m tests.counting_worker`."""

import logging
import sys

from agents.settings import Settings
from agents.worker import run

from .counting_decider import CountingDecider

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("agents").setLevel(logging.INFO)
    sys.exit(run(Settings.read(), CountingDecider))
