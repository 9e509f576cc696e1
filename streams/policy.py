"""The policy: one versioned file that holds every number by which agents are governed.

TOML in, checked by the model of `policy_model`; `Policy()` is the default. Its version is the hash of what it says, not
of how it is written: comments, order and 3 for 3.0 make no difference. A file with a mistake is refused with the line
and the field, so that the policy in force stays in force.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path

from pydantic import Field, ValidationError

from schemas.errors import CognistreamError

from .policy_model import Admission, Limits, Priority, Section, Trust
from .policy_text import complaint, plain, toml


class PolicyError(CognistreamError):
    """A policy that cannot be taken; the message names file, line and field."""


class Policy(Section):
    """All numbers that decide. Sections that a file leaves out have their defaults."""

    admission: Admission = Field(default_factory=Admission, description="what is decided at all")
    trust: Trust = Field(default_factory=Trust, description="score and tier of an agent")
    limits: Limits = Field(default_factory=Limits, description="capacity that an agent may ask for")
    priority: Priority = Field(default_factory=Priority, description="pool of an event")

    @classmethod
    def load(cls, path: Path | str) -> Policy:
        """The policy of a TOML file; PolicyError when it cannot be read or taken."""
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise PolicyError(f"{path}: the policy cannot be read: {problem}") from problem
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str = "policy") -> Policy:
        """The policy that a TOML `text` says; `name` is the file that errors speak of."""
        try:
            said = tomllib.loads(text, parse_float=_decimal)
        except (
            ValueError,
            RecursionError,
        ) as problem:  # of TOML; or of Python, for a number or a nesting beyond measure
            raise PolicyError(f"{name}: not TOML: {problem}") from problem
        try:
            return cls.model_validate(said)
        except ValidationError as problem:
            complaints = [complaint(error, cls, text, name) for error in problem.errors()]
            raise PolicyError("\n".join(complaints)) from problem

    @cached_property
    def version(self) -> str:
        """`p-` and 16 hexadecimal digits of the SHA-256 of the canonical content."""
        canonical = json.dumps(plain(self.model_dump()), sort_keys=True, separators=(",", ":"))
        return "p-" + hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def to_toml(self) -> str:
        """The whole policy as a file that `parse` takes, defaults written out, with what each number means."""
        return toml(self)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as problem:
        raise ValueError(f"{text} is beyond every number") from problem
