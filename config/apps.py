from typing import Any

from django.apps import AppConfig
from django.contrib.admin import apps, checks
from django.core.checks import CheckMessage, Tags, register
from django.utils.module_loading import import_string


class ConfigConfig(AppConfig):
    name = "config"
    verbose_name = "Processes"


class AdminConfig(apps.SimpleAdminConfig):
    """The admin, whose pages are loaded with the URLs: workers and beat, which answer nobody, start without them."""

    default_site = "unfold.sites.UnfoldAdminSite"

    def ready(self) -> None:
        register(checks.check_dependencies, Tags.admin)
        register(_check_pages, Tags.admin)


def _check_pages(app_configs: Any, **options: Any) -> list[CheckMessage]:
    import_string("config.urls.urlpatterns")
    return checks.check_admin_app(app_configs, **options)
