"""Logs: one JSON object a line, on stderr, for the process that serves and nothing else."""

import json
import logging
import time
from collections.abc import Mapping
from functools import lru_cache

import msgspec


class Lines(logging.Formatter):
    """Formats records as JSON objects; those of requests are objects already."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        at = f"{_second(int(record.created))}.{int(record.msecs):03d}Z"
        head = {"at": at, "level": record.levelname.lower(), "log": record.name}
        text = record.getMessage()
        if text.startswith("{"):
            return f"{as_line(head)[:-1]},{text[1:]}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return as_line({**head, "message": text})


def as_line(said: Mapping[str, object]) -> str:
    """Give a JSON object in ASCII, so that nothing in it ends a line."""
    line = msgspec.json.encode(said)  # a tenth of the time of json.dumps, but it leaves other characters as they are
    return line.decode("ascii") if line.isascii() else json.dumps(said)


@lru_cache(maxsize=2)
def _second(at_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s))


def log_lines() -> None:
    """Write what the server logs to stderr from now on, and what uvicorn warns of."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line says them
    for name, level in (("stratal", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
