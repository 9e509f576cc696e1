"""What a caller is told when a request cannot be answered: problem details (RFC 9457), with the path of each field.

Nothing of the inside is told: no trace, no address, no value that was sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from starlette.responses import Response

MEDIA_TYPE: Final = "application/problem+json"


class FieldProblem(BaseModel):
    """A field that is wrong: `path` is a JSON pointer into the body."""

    path: str
    detail: str


class ProblemDetails(BaseModel):
    """The body of every answer that is not the one asked for."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None


class Problem(Exception):
    """Ends a request with `status`; `kind` names the problem for programs."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.errors, self.headers = list(errors), dict(headers or {})

    def details(self) -> dict[str, Any]:
        """The problem details."""
        told: dict[str, Any] = {
            "type": f"urn:cognistream:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            told["errors"] = [error.model_dump() for error in self.errors]
        return told

    def response(self) -> Response:
        """The answer that tells it."""
        return Response(json.dumps(self.details()), self.status, self.headers, MEDIA_TYPE)


def fault() -> Problem:
    """500 for what nobody foresaw."""
    return Problem(500, "fault", "a fault of the gateway; its log says which")


def wrong_fields(error: ValidationError) -> Problem:
    """400 for what is no JSON at all, else 422 with every field that is wrong."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    if problems[0]["type"] == "json_invalid":
        return Problem(400, "not-json", problems[0]["msg"])
    return wrong([(_pointer(problem["loc"]), problem["msg"].removeprefix("Value error, ")) for problem in problems])


def wrong(fields: Sequence[tuple[str, str]]) -> Problem:
    """422 for these (path, what is wrong)."""
    errors = [FieldProblem(path=path, detail=detail) for path, detail in fields]
    return Problem(422, "wrong-fields", "; ".join(f"{one.path or '/'}: {one.detail}" for one in errors), errors)


def _pointer(place: tuple[int | str, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)
