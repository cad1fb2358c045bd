"""FastAPI's document of the API, made whole: our problems in place of its own, and what every call has in common."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from ..domain.errors import Problem
from .bounds import HeadersTooLarge, NotAcceptable, TookTooLong, TooLarge, UriTooLong
from .once import (
    HEADER,
    MONEY,
    AnswerNotKept,
    IdempotencyInProgress,
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
)
from .problems import Overloaded, ProblemBody, documented
from .rate_limits import RateLimited


def install(app: FastAPI) -> None:
    """Makes `app` describe itself so."""
    # A method of the instance is FastAPI's own way to add to the document.
    app.openapi = partial(_whole, app, app.openapi)  # type: ignore[method-assign]


def _whole(app: FastAPI, made: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    document = made()
    schemas = document["components"]["schemas"]
    problem = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= {**problem.pop("$defs"), "ProblemBody": problem}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    # FastAPI leaves every null out, in the examples too, where null is an answer.
    for route in iter_route_contexts(app.routes):
        for status, declared in getattr(route, "responses", {}).items():
            for media_type, content in declared.get("content", {}).items():
                for method in route.methods or ():
                    shown = document["paths"][route.path_format][method.lower()]["responses"][str(status)]
                    shown["content"][media_type] |= {"example": content["example"]} if "example" in content else {}
    for path, method, operation in _calls(document):
        _add_what_all_have_in_common(path, method, operation)
    return document


def _calls(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation.get("security"):
                yield path, method, operation


def _add_what_all_have_in_common(path: str, method: str, operation: dict[str, Any]) -> None:
    if str(RateLimited.status) in operation["responses"]:  # FastAPI keeps the document, and may be asked again
        return
    problems: list[type[Problem]] = [
        NotAcceptable,
        UriTooLong,
        HeadersTooLarge,
        RateLimited,
        Overloaded,
        TookTooLong,
    ]
    if "requestBody" in operation:
        problems.append(TooLarge)
    if method == "post":
        problems += [IdempotencyKeyRequired, IdempotencyInProgress, AnswerNotKept, IdempotencyKeyReused]
        operation.setdefault("parameters", []).append(_key_parameter(required=path in MONEY))
    responses = operation["responses"]
    for status, answer in documented(*problems).items():
        there = responses.get(str(status))
        if there is None:
            responses[str(status)] = answer
        else:
            there["description"] += f"; {answer['description']}"
    operation["responses"] = dict(sorted(responses.items()))


def _key_parameter(*, required: bool) -> dict[str, Any]:
    return {
        "name": HEADER,
        "in": "header",
        "required": required,
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
        "description": "A random text, the same with each retry: what was done is not done again, and its answer is "
        "given again (with `Idempotent-Replayed: true`) for 72 hours.",
        "example": "6f1c2b1e-6a34-4f5b-9d3e-2f1f0c7a9b10",
    }
