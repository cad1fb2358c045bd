"""Every error as problem+json (RFC 9457): a stable code, and a sentence that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from ..domain.errors import Problem
from .once import Replayed

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
_CLOSE = {"Connection": "close"}  # what is still arriving of the request is not read as the next one
_HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    408: _CLOSE,
    413: _CLOSE,
    414: _CLOSE,
    431: _CLOSE,
    503: {"Retry-After": "1"},
}
MOST_ERRORS = 50


class MalformedJson(Problem):
    """The body is not JSON.

    Send UTF-8 encoded JSON with Content-Type: application/json.
    """

    code = "malformed-json"


class ValidationFailed(Problem):
    """The request does not have the form this call takes; each entry of `errors` names a place."""

    status = 422
    code = "validation-failed"


class NotFound(Problem):
    """There is nothing here: look at the path, or the thing is of another project.

    The two look the same on purpose.
    """

    status = 404
    code = "not-found"


class MethodNotAllowed(Problem):
    """The path is right, the method is not; the Allow header names those that are."""

    status = 405
    code = "method-not-allowed"


class UnsupportedMediaType(Problem):
    """The body is of a type this call does not take.

    Send Content-Type: application/json.
    """

    status = 415
    code = "unsupported-media-type"


class StoreUnavailable(Problem):
    """The database does not answer now; nothing was done.

    Try again in a moment.
    """

    status = 503
    code = "store-unavailable"


class Overloaded(Problem):
    """The service, or its database, has as much to do as it can.

    Nothing was done: try again after the time in Retry-After.
    """

    status = 503
    code = "overloaded"


class Internal(Problem):
    """Something went wrong on our side.

    Nothing is half done. Tell the operators the request id.
    """

    status = 500
    code = "internal"


class ErrorAt(BaseModel):
    pointer: str = Field(description="JSON pointer into the body, or the parameter's name.")
    detail: str
    code: str | None = Field(None, description="The kind of this mistake, where it has one; stable as well.")


class ProblemBody(BaseModel):
    """An error, as RFC 9457 has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:tollhouse:problem:price-not-found",
                "title": "The project's catalog sells nothing under this lookup key",
                "status": 404,
                "code": "price-not-found",
                "detail": "The catalog sells nothing as 'pdf-tool.pro.weekly'; it sells pdf-tool.pro.monthly.",
                "instance": "req_6b1f0c1e2d3a4b5c",
            }
        }
    )
    types: ClassVar[str] = "urn:tollhouse:problem:"

    type: str = Field(description="`urn:tollhouse:problem:` and the code.")
    title: str
    status: int
    code: str = Field(description="Stable; programs may depend on it.")
    detail: str = Field(description="What is wrong and what to do.")
    instance: str = Field(description="The request id, as in X-Request-Id.")
    errors: list[ErrorAt] | None = None


def answer(problem: Problem, request_id: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The problem as a response."""
    body: dict[str, Any] = {
        "type": f"{ProblemBody.types}{problem.code}",
        "title": problem.title(),
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "instance": request_id,
    }
    if problem.errors:
        body["errors"] = problem.errors[:MOST_ERRORS]
    extra = {**_HEADERS.get(problem.status, {}), **(headers or {})}
    if problem.retry_after is not None:
        extra["Retry-After"] = str(problem.retry_after)
    return JSONResponse(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=extra)


def a_bug() -> Internal:
    """What the caller is told of an error that nobody foresaw; the log has the rest."""
    return Internal("Something went wrong on our side: tell the operators the request id.")


def documented(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route for OpenAPI."""
    by_status: dict[int | str, list[type[Problem]]] = {}
    for problem in problems:
        by_status.setdefault(problem.status, []).append(problem)
    return {
        status: {
            "description": "; ".join(f"`{one.code}`: {one.title()}" for one in group),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
        }
        for status, group in by_status.items()
    }


def install(app: FastAPI) -> None:
    """Makes `app` answer every error as a problem."""
    app.router.redirect_slashes = False  # a path that is wrong by a slash is told so, like any other

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> JSONResponse:
        return answer(error, request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(_invalid(request, error), request.state.request_id)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        headers = {"Allow": ", ".join(_allowed(request))} if error.status_code == 405 else {}
        return answer(_http(error), request.state.request_id, headers)

    @app.exception_handler(Replayed)
    async def replayed(_: Request, again: Replayed) -> Response:
        return again.response

    @app.exception_handler(PoolTimeout)
    @app.exception_handler(DBAPIError)
    async def database(request: Request, error: PoolTimeout | DBAPIError) -> JSONResponse:
        problem = _of_database(error)
        if problem is None:
            raise error
        return answer(problem, request.state.request_id)

    # Starlette raises the error again after this answer, so that the envelope logs it.
    @app.exception_handler(Exception)
    async def bug(request: Request, _: Exception) -> JSONResponse:
        return answer(a_bug(), request.state.request_id)


@contextmanager
def while_reading() -> Iterator[None]:
    """Tells what goes wrong with the database as the routes do, where there is no route around."""
    try:
        yield
    except (PoolTimeout, DBAPIError) as error:
        problem = _of_database(error)
        if problem is None:
            raise
        raise problem from error


def _of_database(error: PoolTimeout | DBAPIError) -> Problem | None:
    if isinstance(error, PoolTimeout):
        log.error("the database has too much to do")
        return Overloaded("The database has as much to do as it can: try again.")
    if isinstance(error, OperationalError) or error.connection_invalidated:
        log.error("the database does not answer", error=type(error).__name__)
        return StoreUnavailable("The database does not answer now: try again.")
    return None


def _allowed(request: Request) -> list[str]:
    """Every method of the path: each of them is a route of its own, and Starlette names the first one's only."""
    routes = [route for route in iter_route_contexts(request.app.routes) if route.methods]
    path = request.scope["path"]
    methods = {method for route in routes if route.path_regex.match(path) for method in route.methods or ()}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))  # the envelope answers it as a GET without body


def _invalid(request: Request, error: RequestValidationError) -> Problem:
    found = error.errors()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if any(one["loc"] == ("body",) and isinstance(one["input"], bytes) for one in found):
        said = f"not {media_type[:100]}" if media_type else "which says what the body is"
        return UnsupportedMediaType(f"Send Content-Type: application/json, {said}.")
    if any(one["type"] == "json_invalid" for one in found):
        return MalformedJson("The body is not JSON: send UTF-8 encoded JSON.")
    errors = [{"pointer": _pointer(one["loc"]), "detail": one["msg"].removeprefix("Value error, ")} for one in found]
    places = ", ".join(dict.fromkeys(one["pointer"] or "the body as a whole" for one in errors[:5]))
    return ValidationFailed(f"Look at {places}.", errors=errors)


def _pointer(loc: tuple[int | str, ...]) -> str:
    """A JSON pointer (RFC 6901) for what is in the body, the bare name for a parameter; the whole body is ""."""
    where, *path = loc
    if where != "body":
        return str(path[-1] if path else where)
    return "".join(f"/{part}" for part in (str(one).replace("~", "~0").replace("/", "~1") for one in path))


def _http(error: HTTPException) -> Problem:
    if error.status_code == 404:
        return NotFound("There is nothing at this path: see /docs for what there is.")
    if error.status_code == 405:
        return MethodNotAllowed("This path takes another method: see the Allow header.")
    return MalformedJson("The body cannot be read as JSON: send UTF-8 encoded JSON.")
