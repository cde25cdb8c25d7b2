"""The filters of the callback list (contract, section 3)."""

from __future__ import annotations

from rest.filters import AnyChoice, AnyUuid, FilterSet
from webhooks.models import CallbackStatus


class CallbackFilters(FilterSet):
    status = AnyChoice("status", CallbackStatus.values)
    run_uid = AnyUuid("run_uid")
