"""What every answer tells browsers and caches, pages and API, those included that never reach a view.

What Django's own middleware and a view have set stays.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from rest.middleware import speaks_json

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Stored content is shown to staff: whatever it holds, no page runs a script or loads anything that is not ours.
# Inline styles are allowed, which the admin's scripts set.
OF_PAGES = {
    "Content-Security-Policy": "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
}
OF_THE_API = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Nothing of it is a page."""

KEPT_BY_NOBODY = "no-store"
"""A cache on the way knows that what is asked for with Authorization is one caller's, but nothing of X-API-Key."""


class SecurityHeadersMiddleware:
    """Stands outside of whatever makes answers of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        is_api = speaks_json(request.path_info)
        for name, value in (HEADERS if is_api else HEADERS | OF_PAGES).items():
            response.headers.setdefault(name, value)
        if settings.SECURE_HSTS_SECONDS and request.is_secure():
            response.headers.setdefault("Strict-Transport-Security", f"max-age={settings.SECURE_HSTS_SECONDS}")
        if is_api:
            for name, value in OF_THE_API.items():
                response.headers[name] = value
            response.headers.setdefault("Cache-Control", KEPT_BY_NOBODY)
        return response
