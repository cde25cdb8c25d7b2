"""What staff do to runs: through the API's verbs, with their name in the timeline."""

from __future__ import annotations

from typing import Any

import pytest
from django.template.loader import render_to_string
from selectolax.lexbor import LexborHTMLParser

from actions import ActionError
from runs.models import ExecutionMode, Run, RunStatus, RunTransition
from tests.factories import counts, define, launch, member, numbers, reread, work
from tests.runs.called_back import announced, asked
from tests.staff import EVIL, ask_of_many, do_to_many, do_to_one, offered_verbs, page, staff, superuser, text, told
from webhooks.models import Callback
from workspaces.models import User

pytestmark = pytest.mark.django_db

LIST = "/admin/runs/run/"
MAY = ("runs.view_run", "runs.change_run")


@pytest.fixture
def root(db: None) -> Any:
    return superuser()


@pytest.fixture
def failed(acme: Any) -> Run:
    """A run of which inputs 0, 2 and 4 failed as EVEN, input 3 as THREE, and 1 succeeded."""

    def act(n: int) -> int:
        if n % 2 == 0:
            raise ActionError("EVEN", "It is even.")
        if n == 3:
            raise ActionError("THREE", "It is three.")
        return n

    define("process", act, errors={"EVEN": "It is even.", "THREE": "It is three."})
    made = launch("act", numbers(5), by=acme)
    work()
    assert counts(made) == (1, 4, 0, 0)
    return reread(made)


def verbs_of(client: Any, run: Run) -> list[str]:
    return [one for one in offered_verbs(page(client, f"{LIST}{run.pk}/change/")) if one in VERBS]


VERBS = ["resume", "replay-callbacks", "cancel"]


class TestCancelling:
    def test_one_stops_it_with_the_persons_name(self, root, acme, double):
        run = launch("double", numbers(3), by=acme)
        assert verbs_of(root, run) == ["cancel"]
        assert told(do_to_one(root, LIST, "cancel", run)) == f"{run}: Cancelled."
        last = RunTransition.objects.filter(run=run).latest("pk")
        assert (reread(run).status, last.to_status) == ("STOPPED", "STOPPED")
        assert (last.actor, last.actor_uid) == ("member", User.objects.get(username="root").uid)
        assert verbs_of(root, run) == ["resume"]
        timeline = text(page(root, f"{LIST}{run.pk}/timeline/"))
        assert "root" in timeline

    def test_many_takes_those_that_can_be(self, root, acme, double):
        made = [launch("double", numbers(1), by=acme) for _ in range(3)]
        work(at_most=10)
        waiting = [launch("double", numbers(1), by=acme) for _ in range(2)]
        html = LexborHTMLParser(ask_of_many(root, LIST, "cancel", *made, *waiting).content.decode())
        assert "Cancel 2 runs?" in text(html)
        assert "3 runs left out" in text(html)
        assert told(do_to_many(root, LIST, "cancel", *made, *waiting)) == "2 of 2 runs: Cancelled."
        assert {reread(run).status for run in waiting} == {RunStatus.STOPPED}
        assert {reread(run).status for run in made} == {RunStatus.SUCCEEDED}

    def test_one_that_has_ended_is_refused_with_the_reason(self, root, acme, double):
        run = launch("double", numbers(1), by=acme)
        work()
        assert verbs_of(root, run) == []
        said = told(do_to_one(root, LIST, "cancel", run))
        assert said == f"{run}: The run has ended as SUCCEEDED: there is nothing to cancel."

    def test_a_live_call_is_refused(self, root, acme, double):
        run = launch("double", numbers(1), by=acme)
        Run.objects.update(execution_mode=ExecutionMode.LIVE)
        assert verbs_of(root, run) == []
        assert "A live call cannot be cancelled" in told(do_to_one(root, LIST, "cancel", run))


class TestResuming:
    def test_all_that_failed(self, root, failed):
        assert verbs_of(root, failed) == ["resume"]
        said = told(do_to_one(root, LIST, "resume", failed))
        assert said == f"{failed}: Resumed: 4 inputs are without a result."
        assert counts(failed) == (1, 0, 0, 4)
        moved = RunTransition.objects.filter(run=failed, actor="member").latest("pk")
        assert (moved.to_status, moved.actor_uid) == ("SCHEDULED", User.objects.get(username="root").uid)

    def test_one_error_group(self, root, failed):
        said = told(do_to_one(root, LIST, "resume", failed, error_label="EVEN"))
        assert said == f"{failed}: Resumed with the inputs that failed with EVEN: 3 inputs are without a result."
        assert counts(failed) == (1, 1, 0, 3)

    def test_a_label_that_no_input_has_is_refused(self, root, failed):
        assert "No failed input of the run" in told(do_to_one(root, LIST, "resume", failed, error_label="ODD"))
        assert counts(failed) == (1, 4, 0, 0)

    def test_a_label_that_is_none_is_asked_for_again(self, root, failed):
        for label in ("x" * 101, "a\0b"):
            html = LexborHTMLParser(root.post(f"{LIST}{failed.pk}/resume/", {"error_label": label}).content.decode())
            assert html.css("form.confirmation .errors")
        answer = ask_of_many(root, LIST, "resume", failed)
        form = LexborHTMLParser(answer.content.decode()).css_first("form.confirmation")
        given = {"rows": str(failed.pk), "error_label": "x" * 101}
        html = LexborHTMLParser(root.post(form.attributes["action"], given).content.decode())
        assert html.css_first("[name=rows]").attributes["value"] == str(failed.pk)
        assert html.css("form.confirmation .errors")
        assert counts(failed) == (1, 4, 0, 0)

    def test_a_link_fills_the_label_in_and_does_nothing(self, root, failed):
        html = page(root, f"{LIST}{failed.pk}/resume/", error_label=EVIL)
        assert html.css_first("[name=error_label]").attributes["value"] == EVIL
        assert counts(failed) == (1, 4, 0, 0)

    def test_many_go_on_with_their_label(self, root, failed):
        html = do_to_many(root, LIST, "resume", failed, form={"error_label": "THREE"})
        assert told(html).startswith("1 of 1 run: Resumed.")
        assert counts(failed) == (1, 3, 0, 1)

    @pytest.mark.parametrize(
        ("status", "verbs", "links"),
        [("FAILED", ["resume"], 1), ("STOPPED", ["resume"], 0), ("PARTIAL_SUCCEEDED", [], 0)],
        ids=["failed", "stopped", "not allowed"],
    )
    def test_an_error_group_has_a_link_to_it(self, failed, status, verbs, links):
        failed.status = status
        context = {"group": {"label": "A&B <x>"}, "original": failed, "verbs": verbs}
        found = LexborHTMLParser(render_to_string("admin/runs/run/error_verbs.html", context)).css("a")
        path = f"{LIST}{failed.pk}/resume/?error_label=A%26B%20%3Cx%3E"
        assert [one.attributes["href"] for one in found] == [path] * links


class TestReplaying:
    def test_the_failed_callbacks_of_a_run(self, root, acme, double, loopback_receivers):
        run = launch("double", numbers(2), by=acme, callback=asked())
        work()
        announced(run)
        assert verbs_of(root, run) == ["replay-callbacks"]
        assert "No failed callback" in told(do_to_one(root, LIST, "replay-callbacks", run))
        Callback.objects.of_run(run.uid).update(status="FAILED")
        count = Callback.objects.of_run(run.uid).count()
        said = told(do_to_one(root, LIST, "replay-callbacks", run))
        assert said == f"{run}: {count} failed callbacks are sent again."
        assert Callback.objects.filter(parent_uid__isnull=False).count() == count


class TestWho:
    def test_takes_the_permission_and_a_role_that_may_run(self, acme, double):
        run = launch("double", numbers(1), by=acme)
        allowed = {}
        for role in ("ADMIN", "OPS", "USER"):
            client = staff(member("Acme", f"{role.lower()}@acme.test", role=role).user, *MAY)
            allowed[role] = verbs_of(client, run)
            if role == "USER":
                assert client.post(f"{LIST}{run.pk}/cancel/").status_code == 403
        assert allowed == {"ADMIN": ["cancel"], "OPS": ["cancel"], "USER": []}
        viewer = staff(acme.user, "runs.view_run")
        assert verbs_of(viewer, run) == []
        assert viewer.post(f"{LIST}{run.pk}/cancel/").status_code == 403
        assert reread(run).status == RunStatus.QUEUED

    def test_not_staff_of_another_workspace(self, acme, other, double):
        run = launch("double", numbers(1), by=acme)
        client = staff(other.user, *MAY)
        assert client.post(f"{LIST}{run.pk}/cancel/").headers["Location"] == "/admin/"
        client.post(f"{LIST}bulk/cancel/", {"rows": str(run.pk)})
        assert reread(run).status == RunStatus.QUEUED

    def test_a_form_still_changes_nothing(self, root, acme, double):
        run = launch("double", numbers(1), by=acme)
        assert root.post(f"{LIST}{run.pk}/change/", {"status": "STOPPED"}).status_code == 403
