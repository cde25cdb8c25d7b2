"""What strangers send to a form is bounded before it is stored, whoever they are."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from rest.form_uploads import FORM_OVERHEAD_BYTES

pytestmark = pytest.mark.django_db


def sign_in(**fields: Any) -> int:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.get("/admin/login/")  # whoever has no cookie is refused before the form is read
    return client.post("/admin/login/", {"username": "a", "password": "b", **fields}).status_code


def test_a_form_with_too_large_a_field_is_refused() -> None:
    assert sign_in(more="x" * 1000) == 403  # no token
    assert sign_in(more="x" * 3_000_000) == 400


def test_a_form_with_too_large_a_file_is_refused_unread(settings: Any, tmp_path: Any) -> None:
    settings.RUNYARD_MAX_BODY_BYTES = 4_000_000
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "nowhere")  # whatever is stored fails
    largest = SimpleUploadedFile("a", b"x" * (4_000_000 + FORM_OVERHEAD_BYTES))
    assert sign_in(file=largest) == 400


def test_a_file_that_may_be_is_read(settings: Any, tmp_path: Any) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    assert sign_in(file=SimpleUploadedFile("a", b"x" * 4_000_000)) == 403
