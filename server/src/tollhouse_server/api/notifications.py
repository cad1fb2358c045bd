"""Notifications, twice: a project's own calls with its key, and the same for operators, who name the project."""

import functools
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Request

from ..audit import Cause
from ..domain.errors import Problem
from . import notification_deliveries, notification_endpoints
from .admin_projects import OPERATORS, NamedProject
from .authentication import ActingOperator, InsufficientScope, MayManage, OperatorRequired, require_operator
from .notification_endpoints import Acting, Call
from .problems import NotFound, documented


async def _by_key(request: Request, project: MayManage) -> None:
    request.state.acting = Acting(project, Cause("app", f"{request.method} {request.url.path}"))


async def _by_slug(request: Request, project: NamedProject) -> None:
    request.state.acting = Acting(project, Cause("operator", request.url.path))


async def _by_slug_for_change(request: Request, project: NamedProject, why: ActingOperator) -> None:
    request.state.acting = Acting(project, why)


def _add(router: APIRouter, one: Call, prefix: str, before: Callable[..., Any], *problems: type[Problem]) -> None:
    example = {"content": {"application/json": {"example": one.shows}}}
    shown: dict[int | str, dict[str, Any]] = {one.status: example} if one.shows else {}
    router.add_api_route(
        prefix + one.path,
        _another(one.handler),
        methods=[one.method],
        status_code=one.status,
        summary=one.summary,
        dependencies=[Depends(before)],
        responses={**shown, **documented(*OPERATORS, *problems, *one.problems)},
    )


def _another(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The same as a function of its own, as logs and metrics know a route by its function."""

    @functools.wraps(handler)
    async def same(**given: Any) -> Any:
        return await handler(**given)

    return same


of_project = APIRouter(tags=["Notifications"])
of_operators = APIRouter(
    tags=["Operators: notifications"],
    dependencies=[Depends(require_operator)],
    generate_unique_id_function=lambda route: f"operator_{route.name}",
)
for one in (*notification_endpoints.calls, *notification_deliveries.calls):
    _add(of_project, one, "/notification-endpoints", _by_key, InsufficientScope)
    prefix = "/admin/projects/{slug}/notification-endpoints"
    if one.method == "GET":
        _add(of_operators, one, prefix, _by_slug, NotFound)
    else:
        _add(of_operators, one, prefix, _by_slug_for_change, NotFound, OperatorRequired)
