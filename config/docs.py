"""`GET /v1/openapi.json`, and `/docs`, where people read it and try it."""

from __future__ import annotations

import hashlib

from django.http import HttpResponseNotModified
from django.http.response import HttpResponseBase
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from config.openapi import document
from rest.json import RawJSON
from rest.views import ApiView


class Document(ApiView):
    """`GET /v1/openapi.json`, for anybody."""

    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = []

    def get(self, request: Request) -> HttpResponseBase:
        made = document()
        tag = f'"{hashlib.sha256(made).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == tag:
            return HttpResponseNotModified(headers=headers)
        return Response(RawJSON(made), headers=headers)


class Docs(SpectacularSwaggerSplitView):
    """`GET /docs`: Swagger UI from our own server, its script apart, as the Content-Security-Policy asks."""

    template_name = "config/docs.html"
    url = "/v1/openapi.json"
    throttle_classes = []
