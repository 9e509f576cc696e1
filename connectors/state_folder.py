"""Where the product keeps what it makes on this machine: the local Kafka, its jars, the compiled kernels.

`COGNISTREAM_STATE` names the folder; without it the platform's own place for user state is taken.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def state_folder() -> Path:
    """The state folder, absolute; it need not exist yet."""
    named = os.environ.get("COGNISTREAM_STATE")
    return Path(named).expanduser().absolute() if named else platformdirs.user_state_path("cognistream")
