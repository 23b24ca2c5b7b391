"""Where the services are and how to sign in, from the environment and from secret files."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping


class MissingSetting(RuntimeError):
    """A setting that the program cannot do without."""


@dataclass(frozen=True)
class Settings:
    database_host: str
    database_name: str
    database_user: str
    database_password: str
    cache_host: str
    cache_password: str


def load(environment: Mapping[str, str] = os.environ) -> Settings:
    """Reads the settings.

    A password is named by the file that holds it (`…_PASSWORD_FILE`), so that it shows in no process list,
    `inspect` output or crash report.
    """
    return Settings(
        database_host=_required(environment, "DATABASE_HOST"),
        database_name=_required(environment, "DATABASE_NAME"),
        database_user=_required(environment, "DATABASE_USER"),
        database_password=_secret(environment, "DATABASE_PASSWORD_FILE"),
        cache_host=_required(environment, "CACHE_HOST"),
        cache_password=_secret(environment, "CACHE_PASSWORD_FILE"),
    )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise MissingSetting(f"{name} is not set")
    return value


def _secret(environment: Mapping[str, str], name: str) -> str:
    path = Path(_required(environment, name))
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise MissingSetting(f"{name}: cannot read {path}: {error.strerror}") from error
