"""The command line: `cognistream`. One module per command; each imports what it needs only when it runs."""

from __future__ import annotations


def main() -> None:
    """Run the command that the arguments name, and leave with its exit status."""
    import sys

    from agents.cli.main import run

    sys.exit(run(sys.argv[1:]))
