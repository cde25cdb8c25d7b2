"""`python -m devstack.first_admin NAME EMAIL`: make a superuser where it is missing; standard input is the password."""

from __future__ import annotations

import os
import sys

import django


def make_first_admin(name: str, email: str, password: str) -> bool:
    """Return whether the user was made; one that exists is left as it is, password included."""
    from django.contrib.auth import get_user_model

    users = get_user_model().objects
    if users.filter(username=name).exists():
        return False
    users.create_superuser(username=name, email=email, password=password)
    return True


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    make_first_admin(sys.argv[1], sys.argv[2], sys.stdin.read().strip())
