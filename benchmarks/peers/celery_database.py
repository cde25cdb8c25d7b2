"""Celery with django-celery-results: a row in PostgreSQL for each task."""

from __future__ import annotations

import os
from typing import Any

import django
from celery import Celery
from django.conf import settings

if not settings.configured:
    settings.configure(
        DATABASES={"default": {**dict(p.split("=") for p in os.environ["PEER_DJANGO"].split()), "CONN_MAX_AGE": None}},
        INSTALLED_APPS=["django_celery_results"],
        SECRET_KEY="peer",
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        USE_TZ=True,
    )
    django.setup()
app = Celery("peer-database", broker=f"redis+socket://{os.environ['PEER_REDIS']}?virtual_host=2")
app.conf.result_backend = "django-db"
app.conf.worker_hijack_root_logger = False


@app.task(name="echo")
def echo(input: dict[str, Any]) -> dict[str, Any]:
    """Give the input back."""
    return input
