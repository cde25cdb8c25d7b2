"""Schemathesis is not to revoke the key that it calls with: whatever came after would be a 401."""

from __future__ import annotations

import os
import uuid
from typing import Any

import schemathesis


@schemathesis.hook  # type: ignore[misc]
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    if case.path_parameters and str(case.path_parameters.get("key_uid")).lower() == os.environ.get("API_KEY_UID"):
        case.path_parameters["key_uid"] = str(uuid.uuid4())
