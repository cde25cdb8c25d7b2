"""What a line of the log holds of the request that it is about."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from django.test import Client
from structlog.stdlib import ProcessorFormatter

from config import logging as ours

pytestmark = pytest.mark.django_db


@pytest.fixture
def lines() -> Any:
    """The lines of Django's loggers, as a machine reads them."""
    written: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(json.loads(self.format(record)))

    made = ours.configure("INFO", "json")["formatters"]["lines"]
    handler = Kept()
    handler.setFormatter(ProcessorFormatter(processors=made["processors"], foreign_pre_chain=made["foreign_pre_chain"]))
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    yield written
    logger.removeHandler(handler)


@pytest.mark.parametrize("path", ["/v1/runs", "/v1/nowhere"], ids=["view", "unknown"])
def test_a_refusal_is_found_by_its_request_id_and_tells_no_query(lines: list[dict[str, Any]], path: str) -> None:
    answer = Client().get(f"{path}?api_key=secret", headers={"X-Request-Id": "mine-1"})
    assert answer.status_code in (401, 404)
    (line,) = lines
    assert (line["request_id"], line["method"]) == ("mine-1", "GET")
    assert "secret" not in json.dumps(line)


def test_a_line_for_people_does_not_steer_their_terminal() -> None:
    made = ours.configure("INFO", "console")["formatters"]["lines"]
    formatter = ProcessorFormatter(processors=made["processors"], foreign_pre_chain=made["foreign_pre_chain"])
    try:
        raise ValueError("bad: \x1b[2J\x9b31m\x07")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "at \x1b]0;mine\x07 é", None, sys.exc_info())
    written = formatter.format(record)
    assert not [one for one in written if not one.isprintable() and one != "\n"]
    assert "at \\x1b]0;mine\\x07 é" in written
    assert "ValueError: bad: \\x1b[2J" in written
