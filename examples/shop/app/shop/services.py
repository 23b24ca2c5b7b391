"""Connections to the two services that keep state."""

import psycopg
import redis

from shop.settings import Settings

# A dead service must answer a probe with "no", not leave it hanging.
TIMEOUT_SECONDS = 2


def database(settings: Settings) -> psycopg.Connection:
    """A connection of its own: `with` commits it, or rolls it back on an exception, and closes it."""
    return psycopg.connect(
        host=settings.database_host,
        dbname=settings.database_name,
        user=settings.database_user,
        password=settings.database_password,
        connect_timeout=TIMEOUT_SECONDS,
        application_name="shop",
    )


def cache(settings: Settings, socket_timeout_seconds: float = TIMEOUT_SECONDS) -> redis.Redis:
    """A client that connects at first use and reconnects by itself."""
    return redis.Redis(
        host=settings.cache_host,
        password=settings.cache_password,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=socket_timeout_seconds,
        decode_responses=True,
    )
