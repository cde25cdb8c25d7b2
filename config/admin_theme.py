"""How the admin looks, and the order of its pages. Read by `django-unfold`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _list(title: str, icon: str, model: str) -> dict[str, Any]:
    """Return an entry of the sidebar that leads to the list of a model, for those who may see it."""
    app, name = model.split(".")
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{name}_changelist"),
        "permission": _may_see(f"{app}.view_{name}", f"{app}.change_{name}"),
    }


def _may_see(*permissions: str) -> Callable[[HttpRequest], bool]:
    return lambda request: any(request.user.has_perm(one) for one in permissions)


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Runyard",
    "SITE_HEADER": "Runyard",
    "SITE_SYMBOL": "train",
    "SITE_URL": None,  # the API has no page to look at
    "SITE_FAVICONS": [{"rel": "icon", "href": "data:,"}],
    "STYLES": [lambda request: static("workspaces/staff.css")],
    "SCRIPTS": [lambda request: static("workspaces/alpine.js")],
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "config.overview.dashboard",
    "SHOW_BACK_BUTTON": True,
    "LOGIN": {"form": "workspaces.sign_in.SignInForm"},
    "COLORS": {
        "primary": {
            "50": "oklch(97.1% .014 235)",
            "100": "oklch(94.2% .03 235)",
            "200": "oklch(89.2% .06 234)",
            "300": "oklch(81.8% .1 233)",
            "400": "oklch(72.6% .135 235)",
            "500": "oklch(62.8% .15 240)",
            "600": "oklch(54.2% .15 244)",
            "700": "oklch(47.6% .135 246)",
            "800": "oklch(41.2% .115 247)",
            "900": "oklch(36.2% .09 248)",
            "950": "oklch(27.8% .07 250)",
        },
    },
    "SIDEBAR": {
        "show_search": False,
        "navigation": [
            {
                "title": "What happens",
                "items": [
                    {"title": "Overview", "icon": "space_dashboard", "link": reverse_lazy("admin:index")},
                    _list("Runs", "play_circle", "runs.run"),
                    _list("Schedules", "event_repeat", "schedules.schedule"),
                    _list("Callbacks", "call_made", "webhooks.callback"),
                    _list("Receivers", "hub", "webhooks.receiver"),
                ],
            },
            {
                "title": "What can be called",
                "items": [_list("Actions", "bolt", "actions.action")],
            },
            {
                "title": "Who calls",
                "items": [
                    _list("Workspaces", "domain", "workspaces.workspace"),
                    _list("Members", "badge", "workspaces.membership"),
                    _list("API keys", "key", "workspaces.apikey"),
                    _list("Users", "person", "workspaces.user"),
                    _list("Groups", "group", "auth.group"),
                ],
            },
            {
                "title": "The system",
                "items": [
                    _list("Processes", "memory", "config.processheartbeat"),
                    _list("Periodic tasks", "schedule", "django_celery_beat.periodictask"),
                    _list("Intervals", "timer", "django_celery_beat.intervalschedule"),
                    _list("Crontabs", "calendar_month", "django_celery_beat.crontabschedule"),
                ],
            },
        ],
    },
}
