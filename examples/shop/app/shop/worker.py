"""The worker: takes orders from the queue in Redis and writes them to PostgreSQL."""

import logging
import signal
import threading
from pathlib import Path

import psycopg
import redis

from shop import orders, services, settings

# Touched at every turn of the loop; the health check looks at its age.
HEARTBEAT = Path("/tmp/worker-heartbeat")
WAIT_SECONDS = 1
BACKOFF_SECONDS_MAX = 10

log = logging.getLogger("worker")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(settings.load(), stop)
    log.info("stopped")


def run(configuration: settings.Settings, stop: threading.Event) -> None:
    """Works until told to stop. An order in hand is finished first."""
    cache = services.cache(configuration, socket_timeout_seconds=WAIT_SECONDS + services.TIMEOUT_SECONDS)
    backoff_seconds = 1
    recovered = False
    while not stop.is_set():
        try:
            if not recovered:
                log.info("started, %d unfinished orders returned to the queue", orders.return_unfinished(cache))
                recovered = True
            text = orders.take(cache, WAIT_SECONDS)
            if text is not None:
                process(configuration, cache, text)
            HEARTBEAT.touch()
            backoff_seconds = 1
        except (psycopg.OperationalError, redis.RedisError) as error:
            log.warning("will try again in %d s: %s", backoff_seconds, str(error).strip())
            recovered = False
            stop.wait(backoff_seconds)
            backoff_seconds = min(2 * backoff_seconds, BACKOFF_SECONDS_MAX)


def process(configuration: settings.Settings, cache: redis.Redis, text: str) -> None:
    try:
        order = orders.Order.from_json(text)
        with services.database(configuration) as connection:
            orders.write(connection, order)
        log.info("order %s written", order.id)
    except (ValueError, KeyError, TypeError, psycopg.IntegrityError) as error:
        # It would fail the same way for ever and hold up all behind it.
        log.error("order dropped: %s: %s", text, str(error).strip())
    orders.done(cache, text)


if __name__ == "__main__":
    main()
