"""The web application: `python -m uvicorn backend.main:app`."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse

from backend.apis import (
    database,
    governance,
    guardian,
    ingestion,
    learning,
    memory,
    mission_control,
    vault,
)
from backend.apis.common import DatabaseSession
from backend.config import settings
from backend.database import engine
from backend.logs import configure_logging

log = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    configure_logging("api")
    # Better no start than tokens that anybody can sign.
    settings.secret_key  # noqa: B018
    log.info("api started", extra={"port": settings.port})
    yield
    engine.dispose()
    log.info("api stopped")


app = FastAPI(title="Demo", version="1.0.0", lifespan=lifespan)
app.include_router(database.router)
app.include_router(guardian.router)
app.include_router(mission_control.router)
app.include_router(ingestion.router)
app.include_router(learning.router)
app.include_router(governance.router)
app.include_router(vault.router)
app.include_router(memory.router)


@app.get("/health")
def health(session: DatabaseSession) -> JSONResponse:
    """200 as long as the database answers, 503 otherwise."""
    try:
        session.execute(select(1))
    except SQLAlchemyError:
        return JSONResponse({"status": "unhealthy", "database": "unreachable"}, status_code=503)
    return JSONResponse({"status": "healthy", "database": "reachable"})
