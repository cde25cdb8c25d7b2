from django.apps import AppConfig


class RunsConfig(AppConfig):
    name = "runs"

    def ready(self) -> None:
        from runs.quotas import STORED_BYTES, UNFINISHED_RUNS
        from workspaces import quotas

        quotas.register(UNFINISHED_RUNS)
        quotas.register(STORED_BYTES)
