"""Logs: one JSON object a line, on stderr, for the process that serves and nothing else."""

import json
import logging
import time


class Lines(logging.Formatter):
    """Formats records as JSON objects; those of requests are objects already."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        head = {"at": at, "level": record.levelname.lower(), "log": record.name}
        text = record.getMessage()
        if text.startswith("{"):
            return f"{json.dumps(head)[:-1]}, {text[1:]}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return json.dumps({**head, "message": text})


def log_lines() -> None:
    """Write what the server logs to stderr from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    ours = logging.getLogger("stratal")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
