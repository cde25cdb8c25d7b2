"""`/docs` in a real browser: nothing from elsewhere, nothing that the policy stops, and a call that is tried works."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.browser.visitor import WIDTHS, Visitor
from tests.factories import Member

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]


def test_trying_a_call_with_a_key(visit: Callable[..., Visitor], acme: Member) -> None:
    visitor = visit()
    page = visitor.open("/docs")
    page.get_by_role("button", name="Authorize").click()
    form = page.locator(".auth-container", has_text="X-API-Key")
    form.locator("input").fill(acme.key)
    form.get_by_role("button", name="Apply credentials").click()
    page.get_by_role("button", name="Close").first.click()
    operation = page.locator("#operations-Actions-get_action")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_placeholder("action_name").fill("inspect-url")
    operation.get_by_role("button", name="Execute").click()
    answer = operation.locator(".live-responses-table")
    answer.get_by_text("Inspect a URL").first.wait_for()
    assert answer.locator("tbody .response-col_status").first.inner_text().startswith("200")
    visitor.look("docs")
    page.set_viewport_size({"width": WIDTHS["narrow"], "height": 900})
    page.locator("#operations-Actions-list_actions .opblock-summary-control").click()
    page.locator("#operations-Actions-list_actions .responses-table").wait_for()
    visitor.look("docs-narrow")
