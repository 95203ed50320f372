"""The usual way: FastAPI, a Pydantic model, an SQLAlchemy session, one commit a request; no key, chain or delivery."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import JSON, DateTime, String
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

engine = create_async_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"), pool_size=20)
Session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The tables of the usual way."""


class Event(Base):
    """One event as a row."""

    __tablename__ = "usual_events"
    id: Mapped[str] = mapped_column(String, primary_key=True)
    workspace_id: Mapped[str] = mapped_column(String, index=True)
    action: Mapped[str] = mapped_column(String)
    category: Mapped[str] = mapped_column(String)
    actor: Mapped[Any] = mapped_column(JSON)
    payload: Mapped[Any] = mapped_column(JSON)
    details: Mapped[Any] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class EventIn(BaseModel):
    """The body of a request."""

    action: str
    category: str
    actor: dict[str, Any]
    target: dict[str, Any] | None = None
    payload: dict[str, Any]
    metadata: dict[str, Any] | None = None


class EventOut(BaseModel):
    """The body of an answer."""

    id: str
    action: str
    category: str
    created_at: datetime


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """The table exists while the application runs."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/events", status_code=201)
async def store(event: EventIn) -> EventOut:
    """One row, one commit."""
    row = Event(
        id=str(uuid.uuid4()),
        workspace_id="w",
        action=event.action,
        category=event.category,
        actor=event.actor,
        payload=event.payload,
        details=event.metadata,
        created_at=datetime.now(UTC),
    )
    async with Session() as session:
        session.add(row)
        await session.commit()
    return EventOut(id=row.id, action=row.action, category=row.category, created_at=row.created_at)
