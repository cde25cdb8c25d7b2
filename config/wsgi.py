"""The web process's way in. Its many threads share few database connections; others have one of their own."""

import os

from django.core.wsgi import get_wsgi_application

from config import database
from rest.content_type import with_readable_content_type

database.is_shared_by_threads = True
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = with_readable_content_type(get_wsgi_application())
