"""The usual way: FastAPI, a Pydantic model, an SQLAlchemy session, one commit a request.

`/events` stores a row and nothing else. `/duties` does by the same means what ours does: it looks the API key and the
idempotency key up, locks the chain's head, hashes, and adds the event, its delivery and the meter.
"""

import hashlib
import json
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Header
from pydantic import BaseModel
from sqlalchemy import JSON, BigInteger, DateTime, String, select, update
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


class Key(Base):
    """One API key."""

    __tablename__ = "usual_keys"
    digest: Mapped[str] = mapped_column(String, primary_key=True)
    workspace_id: Mapped[str] = mapped_column(String)


class Head(Base):
    """Where a workspace's chain stands, with its meter."""

    __tablename__ = "usual_heads"
    workspace_id: Mapped[str] = mapped_column(String, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String)


class Chained(Base):
    """One event with its place in the chain."""

    __tablename__ = "usual_chained"
    workspace_id: Mapped[str] = mapped_column(String, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    id: Mapped[str] = mapped_column(String, unique=True)
    idempotency_key: Mapped[str] = mapped_column(String, index=True)
    body: Mapped[Any] = mapped_column(JSON)
    hash: Mapped[str] = mapped_column(String)


class Delivery(Base):
    """One delivery to make."""

    __tablename__ = "usual_deliveries"
    id: Mapped[str] = mapped_column(String, primary_key=True)
    event_id: Mapped[str] = mapped_column(String, index=True)
    status: Mapped[str] = mapped_column(String)


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


@app.post("/duties", status_code=201)
async def store_with_duties(event: EventIn, authorization: str = Header(), idempotency_key: str = Header()) -> EventOut:
    """The key, the place in the chain, the event, its delivery and the meter in one commit."""
    digest = hashlib.sha256(authorization.encode()).hexdigest()
    async with Session() as session:
        key = await session.get(Key, digest)
        if key is None:
            key = Key(digest=digest, workspace_id=digest)
            session.add_all([key, Head(workspace_id=digest, seq=0, hash="")])
            await session.flush()
        head = (
            await session.execute(select(Head).where(Head.workspace_id == key.workspace_id).with_for_update())
        ).scalar_one()
        known = await session.execute(select(Chained.id).where(Chained.idempotency_key == idempotency_key))
        if known.first() is not None:
            raise ValueError("the load generator repeats no key")
        body = event.model_dump()
        hashed = hashlib.sha256((head.hash + json.dumps(body, sort_keys=True)).encode()).hexdigest()
        row = Chained(
            workspace_id=head.workspace_id,
            seq=head.seq + 1,
            id=str(uuid.uuid4()),
            idempotency_key=idempotency_key,
            body=body,
            hash=hashed,
        )
        session.add_all([row, Delivery(id=str(uuid.uuid4()), event_id=row.id, status="pending")])
        await session.execute(
            update(Head).where(Head.workspace_id == head.workspace_id).values(seq=row.seq, hash=hashed)
        )
        await session.commit()
    return EventOut(id=row.id, action=event.action, category=event.category, created_at=datetime.now(UTC))
