"""The filters of the run list (contract section 2)."""

from __future__ import annotations

from rest.filters import After, AnyChoice, AnyTag, AnyText, AnyUidOf, AnyUuid, Before, FilterSet
from runs.models import ExecutionMode, RunStatus


class RunFilters(FilterSet):
    status = AnyChoice("status", RunStatus.values)
    action_name = AnyText("action_name", max_length=100)
    execution_mode = AnyChoice("execution_mode", ExecutionMode.values)
    uid = AnyUuid("uid")
    user_uid = AnyUidOf("user")
    workspace_uid = AnyUidOf("workspace")
    scheduled_run_uid = AnyUuid("schedule_uid")
    tag = AnyTag("tags")
    created_after = After("created_at")
    created_before = Before("created_at")
