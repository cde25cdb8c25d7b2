"""Staff at the admin: people who signed in, the pages they get, and what a page may not hold."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client
from selectolax.lexbor import LexborHTMLParser

from tests.session import session_of
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
    client.cookies[settings.SESSION_COOKIE_NAME] = session_of(user)
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


def shown(html: LexborHTMLParser, label: str) -> str:
    """Return what a row's page shows as `label`."""
    return " ".join(field_of(html, label).text(separator=" ").split())


def field_of(html: LexborHTMLParser, label: str) -> Any:
    """Return the place on a row's page where the field `label` is shown, or asked for."""
    for line in html.css(".field-line"):
        found = line.css_first("label")
        if found and found.text().strip().rstrip("*") == label:
            return line.css_first(".readonly") or line
    raise AssertionError(f"no field '{label}'")


def ask_of_many(client: Client, path: str, verb: str, *rows: Any, **more: Any) -> Any:
    """Choose rows of the list at `path`, and a verb for them; return the answer, which is to be a confirmation."""
    chosen = [row.pk for row in rows]
    return client.post(path, {"action": verb, "_selected_action": chosen, "index": "0", **more}, follow=True)


def do_to_many(
    client: Client, path: str, verb: str, *rows: Any, form: dict[str, Any] | None = None
) -> LexborHTMLParser:
    """Choose rows of a list and a verb, confirm it, and return the page that follows."""
    html = LexborHTMLParser(ask_of_many(client, path, verb, *rows).content.decode())
    confirmation = html.css_first("form.confirmation")
    assert confirmation, told(html)
    keys = confirmation.css_first("[name=rows]").attributes["value"]
    return confirmed(client.post(confirmation.attributes["action"], {"rows": keys, **(form or {})}, follow=True))


def do_to_one(client: Client, path: str, verb: str, row: Any, **form: Any) -> LexborHTMLParser:
    """Confirm a verb for the row of the list at `path`, and return the page that follows."""
    return confirmed(client.post(f"{path}{row.pk}/{verb}/", form, follow=True))


def confirmed(response: Any) -> LexborHTMLParser:
    assert response.status_code == 200, response.status_code
    html = LexborHTMLParser(response.content.decode())
    assert not html.css("form.confirmation"), text(html)
    return html


def told(html: LexborHTMLParser) -> str:
    """Return the messages of a page."""
    lines = [one.text(separator=" ") for one in html.css("li") if one.attributes.get("class") == "*:mb-0!"]
    return " ".join(" ".join(lines).split())


def offered_verbs(html: LexborHTMLParser) -> list[str]:
    """Return the names of the verbs that a row's page has buttons for."""
    links = [one.attributes.get("href") or "" for one in html.css("#header-inner ul a")]
    return [link.rstrip("/").rpartition("/")[2] for link in links if not link.endswith("/history/")]
