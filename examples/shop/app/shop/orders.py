"""The order queue: web puts an order in, the worker takes it to the database, at least once and in order."""

import json
import uuid
from dataclasses import asdict, dataclass
from typing import Optional

import psycopg
import redis

QUEUE = "orders"
IN_WORK = "orders:in-work"


@dataclass(frozen=True)
class Order:
    id: str
    item_id: int
    quantity: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Order":
        fields = json.loads(text)
        return Order(id=str(uuid.UUID(fields["id"])), item_id=int(fields["item_id"]), quantity=int(fields["quantity"]))


def put(cache: redis.Redis, item_id: int, quantity: int) -> Order:
    order = Order(id=str(uuid.uuid4()), item_id=item_id, quantity=quantity)
    cache.lpush(QUEUE, order.to_json())
    return order


def take(cache: redis.Redis, wait_seconds: int) -> Optional[str]:
    """Moves the oldest order to the list of those in work, where it survives the death of its worker."""
    return cache.blmove(QUEUE, IN_WORK, wait_seconds, src="RIGHT", dest="LEFT")


def done(cache: redis.Redis, text: str) -> None:
    cache.lrem(IN_WORK, 1, text)


def return_unfinished(cache: redis.Redis) -> int:
    """Puts back what a worker that died had in work. Only safe while there is one worker."""
    returned = 0
    while cache.lmove(IN_WORK, QUEUE, src="LEFT", dest="RIGHT") is not None:
        returned += 1
    return returned


def write(connection: psycopg.Connection, order: Order) -> None:
    """Writes an order once, however often it is delivered."""
    connection.execute(
        "INSERT INTO orders (id, item_id, quantity) VALUES (%s, %s, %s) ON CONFLICT (id) DO NOTHING",
        (order.id, order.item_id, order.quantity),
    )
