"""The whole stack from outside, through the proxy, as a customer meets it."""

import os
import socket
import time
import uuid

import httpx
import pytest

DEADLINE_SECONDS = 20


@pytest.fixture(scope="module")
def client():
    with httpx.Client(base_url=os.environ["SHOP_URL"], timeout=5) as client:
        yield client


def test_the_stack_is_ready(client):
    response = client.get("/ready")
    assert (response.status_code, response.json()) == (200, {"database": "ok", "cache": "ok"})


def test_an_item_added_is_listed(client):
    name = f"item {uuid.uuid4()}"
    added = client.post("/", json={"name": name, "price_cents": 990})
    assert added.status_code == 201
    assert added.json() in client.get("/").json()["items"]


def test_visits_are_counted_across_replicas(client):
    first = client.get("/").json()["visits"]
    assert client.get("/").json()["visits"] > first


def test_all_replicas_serve(client):
    expected = int(os.environ["WEB_REPLICAS"])
    seen = set()
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(seen) < expected and time.monotonic() < deadline:
        seen.add(client.get("/").json()["served_by"])
    assert len(seen) == expected


def test_an_order_reaches_the_database(client):
    item = client.post("/", json={"name": "ordered", "price_cents": 100}).json()
    queued = client.post("/orders", json={"item_id": item["id"], "quantity": 2})
    assert queued.status_code == 202
    order_id = queued.json()["id"]
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (shown := client.get(f"/orders/{order_id}")).status_code == 404 and time.monotonic() < deadline:
        pass
    assert shown.json() == {"id": order_id, "item_id": item["id"], "quantity": 2}


@pytest.mark.parametrize("body", [{"name": "", "price_cents": 1}, {"name": "x", "price_cents": -1}, {}])
def test_a_bad_item_is_refused(client, body):
    assert client.post("/", json=body).status_code == 422


def test_an_order_for_no_item_is_refused(client):
    assert client.post("/orders", json={"item_id": 2_000_000_000, "quantity": 1}).status_code == 422


@pytest.mark.parametrize("host, port", [("database", 5432), ("cache", 6379)])
def test_what_stands_before_the_proxy_cannot_reach_the_state(host, port):
    """This runner sits on the front network only, as the proxy does."""
    with pytest.raises(OSError):
        socket.create_connection((host, port), timeout=2)
