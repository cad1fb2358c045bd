"""Loaded by Schemathesis: what we promise of every error, beside what the description says."""

from typing import Any

import schemathesis

from tollhouse_server.api.problems import ProblemBody


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:  # noqa: ARG001
    """A header that nobody knows breaks no description: HTTP ignores it."""
    return "x-schemathesis-unknown-property" not in (case.headers or {})


@schemathesis.check
def every_error_is_a_problem(ctx: Any, response: Any, case: Any) -> None:  # noqa: ARG001
    """application/problem+json with all of its fields, its own status, and the request's id."""
    if response.status_code < 400 or case.operation.path == "/readyz":
        return
    media_type = response.headers["content-type"][0]
    assert media_type == "application/problem+json", f"an error as {media_type}"
    problem = ProblemBody.model_validate(response.json())
    assert problem.status == response.status_code, "another status in the body"
    assert problem.instance == response.headers["x-request-id"][0], "another request's id in the body"


@schemathesis.check
def nothing_fails_inside(ctx: Any, response: Any, case: Any) -> None:  # noqa: ARG001
    """503 is an answer while something is away; in a fuzz run nothing is."""
    assert response.status_code < 500 or case.operation.path == "/readyz", response.text
