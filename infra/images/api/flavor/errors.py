"""Every error answer has one shape, which is MLflow's: `{"error_code": "<NAME>", "message": "<sentence>"}`, with
`nearest` (spellings) beside it where an ingredient is unknown."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

log = logging.getLogger("flavor.errors")

#: Status -> MLflow's name for it.
CODES = {
    400: "INVALID_PARAMETER_VALUE",
    404: "RESOURCE_DOES_NOT_EXIST",
    405: "BAD_REQUEST",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}


class ErrorBody(BaseModel):
    error_code: str = Field(examples=["TEMPORARILY_UNAVAILABLE"])
    message: str
    nearest: list[str] | None = Field(None, description="Known ingredients that are written alike (404 of /similar).")


class ApiError(Exception):
    """`status` is one of CODES."""

    def __init__(self, status: int, message: str, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.more = more


def _answer(status: int, message: str, headers=None, **more: object) -> JSONResponse:
    code = CODES.get(status, "BAD_REQUEST")
    return JSONResponse({"error_code": code, "message": message, **more}, status_code=status, headers=headers)


def _invalid(error: RequestValidationError) -> str:
    """`k: Input should be less than or equal to 100; ...`"""
    return "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())


def install_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def ours(_request: Request, error: ApiError) -> JSONResponse:
        return _answer(error.status, str(error), **error.more)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return _answer(400, _invalid(error))

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> JSONResponse:
        message = {404: "there is no such page; see docs", 405: "this page answers GET only"}.get(error.status_code)
        return _answer(error.status_code, message or str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def unexpected(_request: Request, _error: Exception) -> JSONResponse:
        return _answer(500, "something went wrong here; the log of this service says what")
