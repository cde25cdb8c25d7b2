"""The filters of the list of schedules (contract section 4)."""

from __future__ import annotations

from rest.filters import AnyChoice, AnyText, AnyUuid, FilterSet
from schedules.models import ScheduleStatus


class ScheduleFilters(FilterSet):
    status = AnyChoice("status", ScheduleStatus.values)
    action_name = AnyText("action_name", max_length=100)
    uid = AnyUuid("uid")
    user_uid = AnyUuid("user__uid")
