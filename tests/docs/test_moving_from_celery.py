"""What the guide shows of Celery is Celery, and answers as what it says to write instead."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from actions import registry
from tests.docs import markdown
from tests.docs.sessions import Page

NAME = "docs/moving-from-celery.md"
PAGE = Page(NAME, markdown.blocks((markdown.PROJECT / NAME).read_text()))
SHOWN = "".join(step.answer or "" for step in PAGE.steps())


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The page's files but the one that its session runs; tasks are executed where they are sent."""
    names = [name.removesuffix(".py") for name in PAGE.files() if name != "launch_orders.py"]
    for name in names:
        (tmp_path / f"{name}.py").write_text(PAGE.files()[f"{name}.py"])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    tasks = importlib.import_module("tasks")
    tasks.app.conf.update(task_always_eager=True, task_eager_propagates=True, task_store_eager_result=False)
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name, None)


def test_every_file_is_read(modules: dict[str, ModuleType]) -> None:
    assert set(modules) == {"tasks", "order_actions", "send_tasks", "orders"}


def test_before_and_after_answer_the_same(modules: dict[str, ModuleType]) -> None:
    sent, after = modules["send_tasks"], modules["order_actions"]
    assert f'{{"number":1,"total":{sent.one["total"]}}}' in SHOWN
    discount = after.Discount(discount=0.1)
    called = [after.price_order(after.Order(**order), parameters=discount).model_dump() for order in sent.ORDERS]
    assert called == sent.many
    composed = modules["orders"]
    invoice = after.invoice_order(after.Order(**composed.ORDER), parameters=after.Discount())
    assert invoice.model_dump() == composed.invoice
    assert composed.total == {"orders": 2, "total": 250.0}
    assert f'{{"orders":2,"total":{sum(one["total"] for one in sent.many)}}}' in SHOWN


def test_before_and_after_fail_alike(modules: dict[str, ModuleType]) -> None:
    from actions import ActionError, Retry

    tasks, after = modules["tasks"], modules["order_actions"]
    order = {"number": 3, "articles": ["sofa"]}
    with pytest.raises(tasks.UnknownArticle, match="sofa"):
        tasks.price_order.delay(order)
    with pytest.raises(ActionError, match="sofa"):
        after.price_order(after.Order(**order), parameters=after.Discount())
    with pytest.raises(Retry):
        after.price_order(after.Order(number=4, articles=["lamp"], is_being_edited=True), parameters=after.Discount())
    definition = registry.get("price-order")
    assert definition is not None
    assert definition.max_attempts == tasks.price_order.max_retries + 1
    assert definition.timeout_s == tasks.price_order.time_limit
    assert definition.rate == tasks.price_order.rate_limit
