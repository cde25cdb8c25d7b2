"""A bare DRF application: `POST /insert` parses JSON and stores one row, `POST /echo` gives the body back.

No key, no workspace, no validation: what Django, DRF and gunicorn take by themselves. DATABASE_URL names its database.
"""

from __future__ import annotations

import os
from typing import Any

import environ
from django.conf import settings

if not settings.configured:
    settings.configure(
        SECRET_KEY="only-for-benchmarks",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        DATABASES={"default": {**environ.Env.db_url_config(os.environ["DATABASE_URL"]), "CONN_MAX_AGE": None}},
        REST_FRAMEWORK={
            "UNAUTHENTICATED_USER": None,
            "DEFAULT_AUTHENTICATION_CLASSES": [],
            "DEFAULT_PERMISSION_CLASSES": [],
            "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        },
        USE_TZ=True,
    )

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from django.db import connection, models
from django.urls import path
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class Row(models.Model):
    """What a launch would be as one row."""

    name = models.CharField(max_length=100)
    inputs = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "bare"


class Insert(APIView):
    def post(self, request: Request) -> Response:
        """Store the body as a row."""
        row = Row.objects.create(name="echo", inputs=request.data["inputs"])
        return Response({"id": row.pk, "created_at": row.created_at}, status=202)


class Echo(APIView):
    def post(self, request: Request) -> Response:
        """Give the body's input back."""
        return Response(request.data["input"])


urlpatterns: list[Any] = [path("insert", Insert.as_view()), path("echo", Echo.as_view())]


def make_table() -> None:
    """Make the table of `Row`."""
    with connection.schema_editor() as editor:
        editor.create_model(Row)


if __name__ == "__main__":
    make_table()
