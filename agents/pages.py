"""What is made from the code: the pages on topics, policy and settings, the Kafka manifests, the client's copies.

`python -m agents.pages` (`make docs`) writes them anew; a test fails when a committed page is not current, so that no
page can say what the code does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from agents.settings import Settings, variables
from connectors import client_generator
from schemas import manifests, topics_page
from streams.policy import Policy

_POLICY_HEAD: Final = """# Policy

Made by `make docs` from `streams/policy_model.py`. A policy is a TOML file; what it leaves out has the default below.
`cognistream policy show` prints the policy in force with the meaning of each number, `cognistream policy check FILE`
tells what is wrong with a file. A score is 0 to 1000 with at most three decimals. How the rules are read to the last
bit: [rules.md](rules.md).
"""

_SETTINGS_HEAD: Final = """# Settings

Made by `make docs` from `agents/settings.py`. Every setting is an environment variable; where a command has an option
for it, the option wins.

| variable | default | |
|---|---|---|"""

_SIGNS: Final = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
_NOT_SHOWN: Final = {"state": "the platform's folder for user state"}


def policy() -> str:
    """docs/policy.md."""
    lines = [_POLICY_HEAD, f"Version of the defaults: `{Policy().version}`.\n", *_section(Policy(), "")]
    return "\n".join(lines).rstrip() + "\n"


def _section(section: BaseModel, place: str) -> Iterator[str]:
    fields = type(section).model_fields
    plain = {name: field for name, field in fields.items() if not isinstance(getattr(section, name), BaseModel)}
    if plain:
        about = (type(section).__doc__ or "").splitlines()[0]
        yield f"## `[{place}]`\n{about}\n\n| name | default | limits | |\n|---|---|---|---|"
        yield from (_number(name, getattr(section, name), field) for name, field in plain.items())
        yield ""
    for name in (name for name in fields if name not in plain):
        yield from _section(getattr(section, name), f"{place}.{name}".lstrip("."))


def _number(name: str, default: Any, field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    limits = [
        f"{sign} {getattr(rule, at)}" for rule in field.metadata for at, sign in signs.items() if hasattr(rule, at)
    ]
    return f"| `{name}` | {_shown(default)} | {', '.join(limits)} | {field.description} |"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_shown(part) for part in value)
    if isinstance(value, BaseModel):
        return " → ".join(str(part) for part in value.model_dump().values())
    return str(value)


def settings() -> str:
    """docs/settings.md."""
    named = variables()
    rows = [_setting(named[name], name, field) for name, field in Settings.model_fields.items()]
    return "\n".join([_SETTINGS_HEAD, *rows]) + "\n"


def _setting(variable: str, name: str, field: FieldInfo) -> str:
    default = field.default
    hidden = default in (None, "", PydanticUndefined) or isinstance(default, SecretStr)
    shown = _NOT_SHOWN.get(name, "" if hidden else f"`{default}`")
    return f"| `{variable}` | {shown} | {field.description} |"


PAGES: Final[dict[str, Callable[[], str]]] = {
    "docs/topics.md": topics_page.page,
    "docs/policy.md": policy,
    "docs/settings.md": settings,
    "k8s/kafka.yaml": manifests.page,
    **client_generator.FILES,
}
"""Path in the repository -> what makes its text."""

if __name__ == "__main__":
    for path, make in PAGES.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(make(), encoding="utf-8")
