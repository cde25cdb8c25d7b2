"""What a line of the log holds of the request that it is about."""

from __future__ import annotations

import json
import logging
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
