"""structlog, as JSON on standard error: one line an event, times in UTC."""

import logging
import sys
from typing import NoReturn

import msgspec
import structlog


def configure() -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.JSONRenderer(serializer=_encode),
        ],
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_AsJson()], level=logging.WARNING)


class _AsJson(logging.Handler):
    """What libraries say, on one line of JSON like everything else; without their tracebacks, which hold values."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger("rollbook").log(record.levelno, "library", logger=record.name, message=record.getMessage())


def silence() -> None:
    """Write nothing: for a service within a command that shows something else."""
    structlog.configure(processors=[_drop], logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer))


def _drop(*_: object) -> NoReturn:
    raise structlog.DropEvent


def _encode(line: object, **_: object) -> bytes:
    return msgspec.json.encode(line)
