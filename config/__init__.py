"""How the processes are put together. Importing the Celery app here is what makes `@shared_task` find it."""

from config.celery import app as celery_app

__all__ = ["celery_app"]
