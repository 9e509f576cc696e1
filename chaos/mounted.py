"""A worker whose state folder is a file system of its own: `python -m chaos.mounted OPTIONS FOLDER`.

The mount lives in a namespace that only this process sees, and ends with it. Where the system allows no such thing the
exit status is 77, and nothing was started. `OPTIONS` are those of tmpfs, such as `size=64k` or `ro`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

NOT_ALLOWED = 77
_UNSHARED = (["unshare", "--mount"], ["unshare", "--mount", "--user", "--map-root-user"])


def main(options: str, folder: str) -> None:
    """Become the worker."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    mount = f'mount -t tmpfs -o "{options}" none "{folder}"'
    allowed = [way for way in _UNSHARED if _runs([*way, "sh", "-c", mount])]
    if not allowed:
        sys.exit(NOT_ALLOWED)
    os.environ["COGNISTREAM_STATE"] = folder
    worker = f'{mount} && exec "{sys.executable}" -m agents.cli worker -v'
    os.execvp(allowed[0][0], [*allowed[0], "sh", "-c", worker])  # noqa: S606  our own words


def fill(pid: int, folder: str) -> None:
    """Write to the file system that the process `pid` has at `folder`, until it is full."""
    with contextlib.suppress(OSError), Path(f"/proc/{pid}/root{folder}/filling").open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))


def _runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
