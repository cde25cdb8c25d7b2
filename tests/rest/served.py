"""A tiny site over `rest` alone, served by a real gunicorn in `test_over_http`: it says what a body was parsed to."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="only-for-tests",
    ALLOWED_HOSTS=["here"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[
        "rest.request_id.RequestIdMiddleware",
        "rest.middleware.ErrorBodyMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
    APPEND_SLASH=False,
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "DEFAULT_PARSER_CLASSES": ["rest.json_media.JSONParser"],
        "DEFAULT_RENDERER_CLASSES": ["rest.json_media.JSONRenderer"],
        "EXCEPTION_HANDLER": "rest.exception_handler.exception_handler",
        "UNAUTHENTICATED_USER": None,
    },
    RUNYARD_MAX_BODY_BYTES=3 * 1024 * 1024,
    RUNYARD_MAX_BODY_NODES=1000,
    RUNYARD_MAX_LARGE_BODIES=1,
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402

from rest.content_type import with_readable_content_type  # noqa: E402
from rest.views import ApiView  # noqa: E402


class Echo(ApiView):
    def get(self, request: Request) -> Response:
        return Response({"hello": "there"})

    def post(self, request: Request) -> Response:
        sent: Any = request.data
        return Response({"text": sent["text"][:10], "length": len(sent["text"])} if "text" in sent else sent)


urlpatterns = [path("v1/echo", Echo.as_view())]
application = with_readable_content_type(get_wsgi_application())
