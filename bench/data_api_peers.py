"""What a user would write instead of a data API: the same requests with FastAPI.

``by_asyncpg`` is written by hand, with the fewest steps; ``by_sqlalchemy`` as the documentation of
both has it. Both do what the data API does: one transaction through the same pooler, with the role
and the claims of a verified token, and PostgreSQL makes the bodies. ``data_api.py`` serves them by
uvicorn.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Annotated, Any

import asyncpg
import jwt
import sqlalchemy as sa
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from pydantic import BaseModel
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

CONNECTIONS = 10  # as many as the data API has for a database
JSON = "application/json"
SET = (
    "SELECT set_config('role', {0}1, true), set_config('request.jwt.claims', {0}2, true),"
    " set_config('request.method', {0}3, true), set_config('request.path', {0}4, true)"
)


@lru_cache
def claims_of(authorization: str) -> dict[str, Any]:
    """The claims of a token; as the data API does it, each token is verified once."""
    token = authorization.removeprefix("Bearer ")
    found: dict[str, Any] = jwt.decode(token, os.environ["JWT_SECRET"], algorithms=["HS256"])
    return found


def context(request: Request) -> tuple[str, str, str, str]:
    """The role, the claims, the method and the path, for policies and functions."""
    try:
        claims = claims_of(request.headers["authorization"])
    except (KeyError, jwt.PyJWTError) as error:
        raise HTTPException(401) from error
    return claims["role"], json.dumps(claims), request.method, request.url.path


# ── asyncpg ──────────────────────────────────────────────────────────────────

READ = "SELECT coalesce(json_agg(t), '[]')::text FROM (SELECT * FROM items WHERE id = $1) t"
PAGE = (
    "SELECT coalesce(json_agg(t), '[]')::text FROM"
    " (SELECT * FROM items WHERE category_id = $1 ORDER BY id LIMIT $2) t"
)
EMBED = (
    "SELECT coalesce(json_agg(t), '[]')::text FROM (SELECT i.id, i.name, i.price,"
    " json_build_object('name', c.name) AS categories FROM items i"
    " LEFT JOIN categories c ON c.id = i.category_id WHERE i.category_id = $1"
    " ORDER BY i.id LIMIT $2) t"
)
INSERT = (
    "INSERT INTO items (name, price, category_id) SELECT name, price, category_id"
    " FROM json_populate_record(null::items, $1)"
)
UPSERT = (
    "INSERT INTO items SELECT * FROM json_populate_recordset(null::items, $1)"
    " ON CONFLICT (id) DO UPDATE SET name = excluded.name, price = excluded.price,"
    " category_id = excluded.category_id"
)
CALL = "SELECT to_json(price_with_tax($1))::text"


@asynccontextmanager
async def pool(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(min_size=CONNECTIONS, max_size=CONNECTIONS) as app.state.pool:
        yield


async def of_pool(request: Request) -> AsyncIterator[Any]:
    """A connection in a transaction of the caller's."""
    given = context(request)
    async with request.app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute(SET.format("$"), *given)
        yield connection


Connection = Annotated[Any, Depends(of_pool, scope="function")]
hand = APIRouter()


@hand.get("/items/{item}")
async def read(item: int, connection: Connection) -> Response:
    return Response(await connection.fetchval(READ, item), media_type=JSON)


@hand.get("/items")
async def page(category: int, limit: int, connection: Connection) -> Response:
    return Response(await connection.fetchval(PAGE, category, limit), media_type=JSON)


@hand.get("/items-with-categories")
async def embed(category: int, limit: int, connection: Connection) -> Response:
    return Response(await connection.fetchval(EMBED, category, limit), media_type=JSON)


@hand.post("/items")
async def insert_one(request: Request, connection: Connection) -> Response:
    await connection.execute(INSERT, (await request.body()).decode())
    return Response(status_code=201)


@hand.put("/items")
async def upsert(request: Request, connection: Connection) -> Response:
    await connection.execute(UPSERT, (await request.body()).decode())
    return Response(status_code=201)


@hand.post("/price-with-tax")
async def call(request: Request, connection: Connection) -> Response:
    given = await request.json()
    return Response(await connection.fetchval(CALL, given["item"]), media_type=JSON)


by_asyncpg = FastAPI(lifespan=pool)
by_asyncpg.include_router(hand)


# ── SQLAlchemy ───────────────────────────────────────────────────────────────

metadata = sa.MetaData()
categories = sa.Table(
    "categories", metadata, sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("name")
)
items = sa.Table(
    "items",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("price", sa.Numeric),
    sa.Column("category_id", sa.ForeignKey("categories.id")),
)


class Item(BaseModel):
    name: str
    price: float
    category_id: int


class NumberedItem(Item):
    id: int


class Call(BaseModel):
    item: int


@asynccontextmanager
async def engine(app: FastAPI) -> AsyncIterator[None]:
    made = create_async_engine("postgresql+asyncpg://", pool_size=CONNECTIONS, max_overflow=0)
    app.state.session = async_sessionmaker(made)
    yield
    await made.dispose()


async def of_engine(request: Request) -> AsyncIterator[AsyncSession]:
    """A session in a transaction of the caller's."""
    given = context(request)
    async with request.app.state.session.begin() as session:
        await session.execute(SETTINGS, dict(zip(("p1", "p2", "p3", "p4"), given, strict=True)))
        yield session


Session = Annotated[AsyncSession, Depends(of_engine, scope="function")]
SETTINGS = sa.text(SET.format(":p"))
orm = APIRouter()


async def rows(session: AsyncSession, query: sa.Select[Any]) -> Response:
    """The rows of a query as JSON."""
    found = query.subquery("t")
    body = sa.func.coalesce(sa.func.json_agg(sa.literal_column("t")), sa.text("'[]'"))
    text = await session.scalar(sa.select(sa.cast(body, sa.Text)).select_from(found))
    return Response(text, media_type=JSON)


@orm.get("/items/{item}")
async def read_by_orm(item: int, session: Session) -> Response:
    return await rows(session, sa.select(items).where(items.c.id == item))


@orm.get("/items")
async def page_by_orm(category: int, limit: int, session: Session) -> Response:
    query = sa.select(items).where(items.c.category_id == category)
    return await rows(session, query.order_by(items.c.id).limit(limit))


@orm.get("/items-with-categories")
async def embed_by_orm(category: int, limit: int, session: Session) -> Response:
    inner = sa.func.json_build_object("name", categories.c.name).label("categories")
    query = (
        sa.select(items.c.id, items.c.name, items.c.price, inner)
        .select_from(items.outerjoin(categories))
        .where(items.c.category_id == category)
        .order_by(items.c.id)
        .limit(limit)
    )
    return await rows(session, query)


@orm.post("/items", status_code=201)
async def insert_by_orm(item: Item, session: Session) -> None:
    await session.execute(sa.insert(items).values(item.model_dump()))


@orm.put("/items", status_code=201)
async def upsert_by_orm(given: list[NumberedItem], session: Session) -> None:
    statement = insert(items).values([each.model_dump() for each in given])
    changes = {name: statement.excluded[name] for name in ("name", "price", "category_id")}
    await session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=changes))


@orm.post("/price-with-tax")
async def call_by_orm(given: Call, session: Session) -> Response:
    body = sa.cast(sa.func.to_json(sa.func.price_with_tax(given.item)), sa.Text)
    return Response(await session.scalar(sa.select(body)), media_type=JSON)


by_sqlalchemy = FastAPI(lifespan=engine)
by_sqlalchemy.include_router(orm)
