"""What the API answers where it cannot do what it was asked: JSON with `error` and `fix`."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from contracts.errors import ConfigError, ThingstormError, UnknownName

_TOLD = 3
"""Of the places of a body that do not fit: of 500 documents the first few show what is wrong with all."""


def tell_errors(app: FastAPI) -> None:
    """Every error of `app` is told alike."""
    app.add_exception_handler(ThingstormError, explain)
    app.exception_handler(RequestValidationError)(_unfit)
    app.exception_handler(HTTPException)(_refused)


async def explain(_: Request, error: Exception) -> JSONResponse:
    """Our errors as JSON."""
    status = 400
    if isinstance(error, UnknownName):
        status = 404
    elif not isinstance(error, ConfigError):
        status = 503
    return JSONResponse({"error": str(error), "fix": getattr(error, "fix", "")}, status)


async def _unfit(request: Request, error: RequestValidationError) -> JSONResponse:
    """A body or parameter of the wrong shape; `detail` is FastAPI's own list of them."""
    places = error.errors()
    told = "; ".join(_place(one["loc"], one["msg"]) for one in places[:_TOLD])
    more = f"; and {len(places) - _TOLD} more" if len(places) > _TOLD else ""
    fix = _where(request, f"has the shape that {request.method} {request.url.path} takes")
    # without what was sent: it may be long, and it may be a secret
    detail = jsonable_encoder([{**one, "input": None, "ctx": {}} for one in places[:_TOLD]])
    return JSONResponse({"error": told + more, "fix": fix, "detail": detail}, 422)


def _place(where: Sequence[Any], what: str) -> str:
    """`body.documents.0: Input should be ...`: pydantic's words begin with a capital letter."""
    return f"{'.'.join(map(str, where))}: {what[:1].lower()}{what[1:]}"


async def _refused(request: Request, error: HTTPException) -> JSONResponse:
    """A path that is not there, or a method that it has not."""
    told = f"{request.method} {request.url.path}: {str(error.detail).lower()}"
    return JSONResponse(
        {"error": told, "fix": _where(request, "lists what it answers")},
        error.status_code,
        headers=dict(error.headers or {}),
    )


def _where(request: Request, what: str) -> str:
    """Stages among themselves have no page of what they answer: only stages of their version ask."""
    page = request.app.docs_url if request.app.openapi_url else None
    return f"{page} of this API {what}" if page else "ask as the stages of this version of thingstorm do"
