from django.apps import AppConfig


class WorkspacesConfig(AppConfig):
    name = "workspaces"

    def ready(self) -> None:
        from workspaces import quotas
        from workspaces.issuing import API_KEYS

        quotas.register(API_KEYS)
