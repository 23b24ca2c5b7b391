"""What can be tested without any other service."""

import os
import uuid

import pytest

from shop import healthcheck, settings
from shop.orders import Order


def test_an_order_survives_the_queue():
    order = Order(id=str(uuid.uuid4()), item_id=3, quantity=2)
    assert Order.from_json(order.to_json()) == order


@pytest.mark.parametrize("text", ["", "{}", '{"id": "x", "item_id": 1, "quantity": 1}'])
def test_a_malformed_order_is_refused(text):
    with pytest.raises((ValueError, KeyError)):
        Order.from_json(text)


def test_a_password_comes_from_its_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    loaded = settings.load(environment(secret))
    assert loaded.database_password == "s3cret"


def test_a_missing_secret_file_is_named(tmp_path):
    with pytest.raises(settings.MissingSetting, match=r"DATABASE_PASSWORD_FILE: cannot read .*/absent"):
        settings.load(environment(tmp_path / "absent"))


def test_a_missing_setting_is_named(tmp_path):
    with pytest.raises(settings.MissingSetting, match="CACHE_HOST is not set"):
        settings.load({**environment(tmp_path / "secret", create=True), "CACHE_HOST": ""})


def test_a_heartbeat_goes_stale(tmp_path):
    heartbeat = tmp_path / "heartbeat"
    assert healthcheck.main(["--fresh", str(heartbeat), "30"]) == 1
    heartbeat.touch()
    assert healthcheck.main(["--fresh", str(heartbeat), "30"]) == 0
    os.utime(heartbeat, (0, 0))
    assert healthcheck.main(["--fresh", str(heartbeat), "30"]) == 1


def environment(secret, create=False):
    if create:
        secret.write_text("x")
    return {
        "DATABASE_HOST": "database",
        "DATABASE_NAME": "shop",
        "DATABASE_USER": "shop",
        "DATABASE_PASSWORD_FILE": str(secret),
        "CACHE_HOST": "cache",
        "CACHE_PASSWORD_FILE": str(secret),
    }
