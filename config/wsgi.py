"""The web process's way in. Its many threads share few database connections; others have one of their own."""

import os
from importlib import import_module

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from config import database, loading
from rest.content_type import with_readable_content_type

database.is_shared_by_threads = True
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
with loading.for_good():
    application = with_readable_content_type(get_wsgi_application())
    import_module(settings.ROOT_URLCONF)  # the first caller would wait for it
