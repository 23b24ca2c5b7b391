"""Brings the database to the newest schema: each file of migrations/ once, in the order of their names."""

import sys
from pathlib import Path

import psycopg

from shop import services, settings

FOLDER = Path(__file__).resolve().parent.parent / "migrations"
# Any number, as long as everyone who migrates this database takes the same lock.
LOCK = 7_240_001


def migrate(connection: psycopg.Connection, folder: Path = FOLDER) -> list[str]:
    """Applies what is missing, all or nothing, and returns the names of the files applied."""
    applied = []
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {name for (name,) in connection.execute("SELECT name FROM schema_migrations")}
        for file in sorted(folder.glob("*.sql")):
            if file.name in done:
                continue
            connection.execute(file.read_text(encoding="utf-8"))
            connection.execute("INSERT INTO schema_migrations (name) VALUES (%s)", (file.name,))
            applied.append(file.name)
    return applied


def main() -> int:
    with services.database(settings.load()) as connection:
        applied = migrate(connection)
    print(f"applied: {', '.join(applied)}" if applied else "nothing to apply", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
