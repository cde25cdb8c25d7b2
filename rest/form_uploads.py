"""How much a form may send: forms are read before anybody has looked at who is sending them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler

FORM_OVERHEAD_BYTES = 1024 * 1024
"""For what a form sends beside a file."""


class UploadLimit(FileUploadHandler):
    """Stands before the handlers that keep files, and refuses a form with more than a request's body may have.

    Fields that are no files are bounded by Django's DATA_UPLOAD_MAX_MEMORY_SIZE.

    Raises:
        RequestDataTooBig: which Django answers with 400, before anything is stored.
    """

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: Any = None
    ) -> None:
        """Refuse, or leave all to the others."""
        if content_length > settings.RUNYARD_MAX_BODY_BYTES + FORM_OVERHEAD_BYTES:
            raise RequestDataTooBig("The form is larger than a request may be.")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Pass a piece on."""
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leave the file to the others."""
