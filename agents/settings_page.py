"""Writes docs/settings.md from the settings themselves: `python -m agents.settings_page docs/settings.md`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from agents.settings import Settings, variables

_HEAD = """# Settings

A process reads these environment variables once, when it starts; an option of the command line wins over its variable.
This page is written from `agents/settings.py` by `make docs`.

| variable | default | what it says |
|---|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = [
        f"| `{variable}` | {_default(name)} | {Settings.model_fields[name].description} |"
        for name, variable in variables().items()
    ]
    return _HEAD + "\n".join(rows) + "\n"


def _default(name: str) -> str:
    if name == "state":
        return "the user's state folder"
    value: Any = Settings.model_fields[name].default
    value = value.get_secret_value() if isinstance(value, SecretStr) else value
    return "" if value in (None, "") else f"`{value}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), "utf-8")
