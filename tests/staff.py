"""Staff at the admin: people who signed in, the pages they get, and what a page may not hold."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission
from django.test import Client
from selectolax.lexbor import LexborHTMLParser

from workspaces.models import User

EVIL = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)><a href=\"javascript:alert(1)\">"


def superuser() -> Client:
    """Return the browser of a superuser."""
    # Without a password: hashing one takes as long as some tests.
    return signed_in(User.objects.create(username="root", is_staff=True, is_superuser=True))


def staff(user: User, *permissions: str) -> Client:
    """Make a user staff with `permissions`, such as "runs.view_run", and return their browser."""
    user.is_staff = True
    user.save(update_fields=["is_staff"])
    for permission in permissions:
        app, _, codename = permission.partition(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return signed_in(user)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, path: str, **query: Any) -> LexborHTMLParser:
    """Return the page at `path`, which must be there."""
    response = client.get(path, query)
    assert response.status_code == 200, (response.status_code, path)
    return LexborHTMLParser(response.content.decode())


def rows(html: LexborHTMLParser) -> list[str]:
    """Return the text of each row of a list."""
    return [row.text(separator=" ").strip() for row in html.css("#result_list tbody tr")]


def text(html: LexborHTMLParser) -> str:
    assert html.body
    return html.body.text(separator=" ")


def assert_harmless(html: LexborHTMLParser) -> None:
    """Fail where stored text became markup: an element, a handler or a link that the templates do not have."""
    for script in html.css("script"):
        assert "alert(" not in script.text(), script.html
    for element in html.css("*"):
        handlers = [name for name in element.attributes if name.startswith("on")]
        assert not handlers, element.html
        for name in ("href", "src", "action", "formaction"):
            address = (element.attributes.get(name) or "").strip().lower()
            assert not address.startswith("javascript:"), element.html
            assert address != "x", element.html
