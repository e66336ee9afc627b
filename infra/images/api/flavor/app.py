"""The HTTP surface. Handlers read `follower.status` once and answer from what they found there: a promotion in the
middle of a request changes nothing for it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

import anyio.to_thread
from fastapi import FastAPI, Query
from fastapi.responses import HTMLResponse, PlainTextResponse
from prometheus_client import generate_latest
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flavor import docs
from flavor.errors import ApiError, ErrorBody, install_errors
from flavor.follower import Follower, describe
from flavor.metrics import RequestMetrics, make_registry
from flavor.model import Model
from flavor.settings import Settings
from flavor.word2vec import LONGEST_NAME

MOST_NEIGHBOURS = 100

#: Each answer of /similar works on some bytes per ingredient; this bounds how many do at a time.
_ANSWERS_AT_ONCE = 8
_DESCRIPTION = (
    "Which ingredients go together, by the cosine of their embeddings. The model is the version that is marked in the "
    "MLflow model registry; marking another one replaces it within seconds, without a pause."
)


class Neighbour(BaseModel):
    ingredient: str
    score: float = Field(description="Cosine of the two vectors, -1 to 1.")


class Similar(BaseModel):
    model: str
    version: str
    ingredient: str
    neighbours: list[Neighbour] = Field(description="Nearest first.")


class LastFailure(BaseModel):
    version: str
    reason: str
    at: datetime
    retrying: bool = Field(
        description="true: the way there failed and is tried again; false: the version is no usable model."
    )


class TrackingState(BaseModel):
    reachable: bool | None = Field(description="null before the first answer.")
    since: datetime
    checked_at: datetime
    reason: str | None


class ModelState(BaseModel):
    name: str
    stage: str
    state: str = Field(description="What is going on, in one sentence for people.")
    version: str | None = Field(description="The version that serves.")
    run_id: str | None
    loaded_at: datetime | None
    vocabulary: int | None
    dimensions: int | None
    stage_version: str | None = Field(description="The version in the stage, when the tracking server last answered.")
    loading: str | None = Field(description="The version that is being loaded beside the one that serves.")
    last_failure: LastFailure | None = Field(description="The last one since the last successful load.")
    tracking: TrackingState


class Alive(BaseModel):
    status: str = "ok"


class Ready(BaseModel):
    status: str = "ready"
    version: str


def _error(description: str) -> dict:
    return {"model": ErrorBody, "description": description}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def create_app(settings: Settings, follower: Follower) -> FastAPI:
    @contextlib.asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _ANSWERS_AT_ONCE
        follower.start()
        try:
            yield
        finally:
            follower.stop()

    app = FastAPI(
        title="Ingredient similarity",
        description=_DESCRIPTION,
        version="1",
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        # Relative to the document itself, under whatever path a proxy shows it.
        servers=[{"url": "."}],
        root_path_in_servers=False,
        redirect_slashes=False,
    )
    install_errors(app)
    registry = make_registry(settings.model, settings.stage, lambda: follower.status, follower.counts)
    app.add_middleware(_Outermost, metrics=RequestMetrics(registry))

    def model_or_503() -> Model:
        status = follower.status
        if status.model is None:
            raise ApiError(503, describe(status, settings.stage))
        return status.model

    @app.get("/health", response_description="always, while the process lives")
    async def health() -> Alive:
        """The process is alive. Says nothing about a model."""
        return Alive()

    @app.get(
        "/ready", response_description="a model serves", responses={503: _error("no model yet; the message says why")}
    )
    async def ready() -> Ready:
        """Whether /similar answers now."""
        return Ready(version=model_or_503().version.version)

    @app.get("/model", response_description="always")
    async def model() -> ModelState:
        """What serves, what is in the stage, and what went wrong last."""
        status = follower.status
        served, failure, tracking = status.model, status.failure, status.tracking
        return ModelState(
            name=settings.model,
            stage=settings.stage,
            state=describe(status, settings.stage),
            version=served.version.version if served else None,
            run_id=served.version.run_id if served else None,
            loaded_at=_time(served.loaded_at) if served else None,
            vocabulary=len(served) if served else None,
            dimensions=served.dimensions if served else None,
            stage_version=status.in_stage.version if status.in_stage else None,
            loading=status.loading.version if status.loading else None,
            last_failure=LastFailure(
                version=failure.version, reason=failure.reason, at=_time(failure.at), retrying=failure.retrying
            )
            if failure
            else None,
            tracking=TrackingState(
                reachable=tracking.reachable,
                since=_time(tracking.since),
                checked_at=_time(tracking.checked_at),
                reason=tracking.reason,
            ),
        )

    # Not async: the arithmetic runs on a worker thread, and other requests go on.
    @app.get(
        "/similar",
        response_description="the neighbours, and the version that named them",
        responses={
            400: _error("a parameter is missing or out of bounds"),
            404: _error("the ingredient is unknown; `nearest` lists what is written alike"),
            503: _error("no model yet; the message says why"),
        },
    )
    def similar(
        ingredient: Annotated[str, Query(min_length=1, max_length=LONGEST_NAME, description="Name of an ingredient.")],
        k: Annotated[
            int, Query(ge=1, le=MOST_NEIGHBOURS, description="How many neighbours, 1 to 100; 10 if not given.")
        ] = 10,
    ) -> Similar:
        """The ingredients that go with this one."""
        model = model_or_503()
        row = model.find(ingredient)
        if row is None:
            raise ApiError(
                404,
                f"{ingredient!r} is not among the {len(model)} ingredients of version {model.version.version}",
                nearest=model.nearest_spellings(ingredient),
            )
        return Similar(
            model=settings.model,
            version=model.version.version,
            ingredient=model.name(row),
            neighbours=[
                Neighbour(ingredient=found.ingredient, score=round(found.score, 6))
                for found in model.neighbours(row, k)
            ],
        )

    @app.get("/metrics", response_class=PlainTextResponse, response_description="always")
    async def metrics() -> PlainTextResponse:
        """For Prometheus."""
        return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    page: str | None = None

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def documentation() -> str:
        nonlocal page
        page = page or docs.render(app.openapi(), {"/similar": "?ingredient=%E7%9B%90&k=5"})
        return page

    _without_422(app)
    return app


def _without_422(app: FastAPI) -> None:
    """FastAPI announces 422 for every route with parameters; here such requests are answered 400."""
    make = app.openapi

    def openapi() -> dict:
        document = make()
        for operations in document["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for schema in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(schema, None)
        return document

    app.openapi = openapi


class _Outermost:
    """Counts and times every answer, the ones to unknown paths as one route, and sets the headers all have."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"cache-control", b"no-store"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.count(route, status, time.perf_counter() - started)
