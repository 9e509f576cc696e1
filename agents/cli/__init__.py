"""The command line: `cognistream`. One module per command; each imports what it needs only when it runs."""

from __future__ import annotations


def main() -> None:
    """Run the command that the arguments name, and leave with its exit status.

    The process ends here and now: taking an interpreter down that holds all kernels takes half a second, seconds where
    processors are short, and a worker has five from its signal to its end.
    """
    import os
    import sys
    from contextlib import suppress

    from agents.cli.main import run

    status = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(status)
