"""The application that is served takes whatever stands in Content-Type. What it then answers: `test_over_http`."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import RequestFactory

from config import database


@pytest.mark.django_db  # a request looks at the connection that a test before it may have opened
def test_what_is_served_reads_no_content_type_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "is_shared_by_threads", False)  # which the import changes
    from config.wsgi import application

    environ = RequestFactory()._base_environ(PATH_INFO="/healthz", CONTENT_TYPE="text/html; charset*=zz'y'%80")
    answered: list[Any] = []
    assert b"".join(application(environ, lambda status, headers: answered.append(status)))
    assert answered == ["200 OK"]
