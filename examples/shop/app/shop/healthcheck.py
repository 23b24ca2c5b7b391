"""The image's own probe: python3 -m shop.healthcheck URL | --fresh FILE SECONDS. Ends with 0 (healthy) or 1."""

import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

TIMEOUT_SECONDS = 2


def answers(url: str) -> str:
    """Empty where the URL answers with a success, else what is wrong."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return f"{url}: {error.code} {error.read(500).decode(errors='replace')}"
    except OSError as error:
        return f"{url}: {error}"


def is_fresh(file: Path, limit_seconds: float) -> str:
    """Empty where the file was touched within the limit, else what is wrong."""
    try:
        age_seconds = time.time() - file.stat().st_mtime
    except OSError as error:
        return f"{file}: {error.strerror}"
    return "" if age_seconds <= limit_seconds else f"{file}: untouched for {age_seconds:.0f} s"


def main(arguments: list[str]) -> int:
    match arguments:
        case ["--fresh", file, limit]:
            fault = is_fresh(Path(file), float(limit))
        case [url]:
            fault = answers(url)
        case _:
            fault = __doc__ or ""
    if fault:
        print(fault, file=sys.stderr)
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
