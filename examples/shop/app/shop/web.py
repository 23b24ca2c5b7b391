"""The web service."""

import socket
from typing import Any
from uuid import UUID

import psycopg
import redis
from fastapi import FastAPI, HTTPException, Response
from psycopg.rows import dict_row
from pydantic import BaseModel, Field

from shop import orders, services, settings

app = FastAPI(title="shop")
configuration = settings.load()
cache = services.cache(configuration)


class NewItem(BaseModel):
    name: str = Field(min_length=1, max_length=200)
    price_cents: int = Field(ge=0)


class NewOrder(BaseModel):
    item_id: int = Field(ge=1)
    quantity: int = Field(ge=1, le=1000)


@app.get("/")
def list_items() -> dict[str, Any]:
    with services.database(configuration) as connection, connection.cursor(row_factory=dict_row) as cursor:
        items = cursor.execute("SELECT id, name, price_cents FROM items ORDER BY id").fetchall()
    return {"visits": cache.incr("visits"), "served_by": socket.gethostname(), "items": items}


@app.post("/", status_code=201)
def add_item(item: NewItem) -> dict[str, Any]:
    with services.database(configuration) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "INSERT INTO items (name, price_cents) VALUES (%s, %s) RETURNING id, name, price_cents",
            (item.name, item.price_cents),
        ).fetchone()


@app.post("/orders", status_code=202)
def queue_order(order: NewOrder) -> dict[str, Any]:
    with services.database(configuration) as connection:
        if connection.execute("SELECT 1 FROM items WHERE id = %s", (order.item_id,)).fetchone() is None:
            raise HTTPException(status_code=422, detail=f"there is no item {order.item_id}")
    return {"id": orders.put(cache, order.item_id, order.quantity).id}


@app.get("/orders/{order_id}")
def show_order(order_id: UUID) -> dict[str, Any]:
    with services.database(configuration) as connection, connection.cursor(row_factory=dict_row) as cursor:
        order = cursor.execute("SELECT id, item_id, quantity FROM orders WHERE id = %s", (order_id,)).fetchone()
    if order is None:
        raise HTTPException(status_code=404, detail="not written yet, or never queued")
    return order


@app.get("/health")
def health() -> dict[str, str]:
    """This process answers. Restarting it would not help where another service is down, so none is asked."""
    return {"status": "ok"}


@app.get("/ready")
def ready(response: Response) -> dict[str, str]:
    """This process can do its work: both services answer."""
    state = {"database": "ok", "cache": "ok"}
    try:
        with services.database(configuration) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        state["database"] = str(error).strip()
    try:
        cache.ping()
    except redis.RedisError as error:
        state["cache"] = str(error).strip()
    if any(value != "ok" for value in state.values()):
        response.status_code = 503
    return state
