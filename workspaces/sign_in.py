"""Signing in to the admin."""

from __future__ import annotations

import math
from typing import Any

import structlog
from django.contrib import admin
from django.forms import ValidationError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables
from unfold.forms import AuthenticationForm

from workspaces import sign_in_attempts

log = structlog.get_logger(__name__)


class SignInForm(AuthenticationForm):
    """Django's own, which looks at no password once too many were tried. It says the same of every account."""

    refused_for_s: int | None = None

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        """Count the attempt, then check it.

        Raises:
            ValidationError: there were too many, or this one is wrong.
        """
        if self.request is None or not self.cleaned_data.get("username") or not self.cleaned_data.get("password"):
            return super().clean()
        attempt = sign_in_attempts.attempt_of(self.request, self.cleaned_data["username"])
        self.refused_for_s = sign_in_attempts.seconds_refused(attempt, now=timezone.now())
        if self.refused_for_s is not None:
            log.warning("sign_in_refused", address=attempt.address, retry_after_s=self.refused_for_s)
            minutes = math.ceil(self.refused_for_s / 60)
            wait = "a minute" if minutes == 1 else f"{minutes} minutes"
            raise ValidationError(f"Too many attempts to sign in. Try again in {wait}.", code="throttled")
        cleaned = super().clean()
        sign_in_attempts.forget(attempt)
        return cleaned


def sign_in(request: HttpRequest) -> HttpResponseBase:
    """The admin's page to sign in; 429 with `Retry-After` where too many passwords were tried."""
    response: Any = admin.site.login(request)
    form = (getattr(response, "context_data", None) or {}).get("form")
    if isinstance(form, SignInForm) and form.refused_for_s is not None:
        response.status_code = 429
        response["Retry-After"] = str(form.refused_for_s)
    elif request.method == "POST" and form is None and request.user.is_authenticated:
        sign_in_attempts.remember(response, request.user.get_username())
    return response
