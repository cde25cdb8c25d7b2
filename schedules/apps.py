from django.apps import AppConfig


class SchedulesConfig(AppConfig):
    name = "schedules"

    def ready(self) -> None:
        from schedules.quotas import SCHEDULES
        from workspaces import quotas

        quotas.register(SCHEDULES)
