"""Logs as JSON, one object a line on stdout, for our own messages and for gunicorn's."""

from typing import Any


def logging_config(level: str) -> dict[str, Any]:
    """What ``logging.config.dictConfig`` takes."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "format": "%(asctime)s %(levelname)s %(name)s %(message)s %(process)d",
                "rename_fields": {
                    "asctime": "time",
                    "levelname": "level",
                    "name": "logger",
                    "process": "pid",
                },
            }
        },
        "handlers": {
            "stdout": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "formatter": "json",
            }
        },
        "root": {"level": level, "handlers": ["stdout"]},
        "loggers": {
            "gunicorn.error": {"level": level, "propagate": True, "handlers": []},
            "gunicorn.access": {"level": "CRITICAL", "propagate": False, "handlers": []},
            "botocore": {"level": "WARNING"},
            "PIL": {"level": "CRITICAL"},  # it logs what is wrong with hostile files; so do we
        },
    }
