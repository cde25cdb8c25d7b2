from django.apps import AppConfig
from django.conf import settings


class ActionsConfig(AppConfig):
    name = "actions"

    def ready(self) -> None:
        from actions import registry

        registry.load(settings.RUNYARD_ACTIONS)
