"""Launching from the admin: a live try, and a file that is checked before its run is stored."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pydantic import BaseModel, Field
from selectolax.lexbor import LexborHTMLParser

from actions import ActionDefinition, ActionError, action, catalogue
from rest import body
from runs.models import InputSet, Run, RunStatus, RunTransition
from tests.factories import Member, inputs_of, member, work
from tests.runs.live_worker import answers
from tests.staff import EVIL, assert_harmless, page, staff, superuser, text
from workspaces.models import Workspace

TRY, UPLOAD = "/admin/runs/run/try/double/", "/admin/runs/run/upload/double/"
TWO_BAD = b'{"n": 1}\n{"n": "x"}\n\n{"m": 2}\n{"n": 3}\n'


class Options(BaseModel, extra="forbid"):
    factor: int = Field(2, ge=1)


@pytest.fixture(autouse=True)
def registered(double: ActionDefinition, no_live_calls: None) -> None:
    """`double` can be called."""


@pytest.fixture
def root(db: None) -> Client:
    return superuser()


def html_of(response: Any, status: int = 200) -> LexborHTMLParser:
    assert response.status_code == status, response.content[:500]
    return LexborHTMLParser(response.content.decode())


def outcome(response: Any, status: int = 200) -> str:
    part = html_of(response, status).css_first("#outcome")
    assert part is not None
    return " ".join(part.text(separator=" ").split())


def sent(client: Client, path: str, *, to: Workspace, **fields: Any) -> Any:
    return client.post(path, {"workspace": to.pk, **fields})


def upload(client: Client, content: bytes, *, to: Workspace, path: str = UPLOAD, **more: Any) -> Any:
    file = SimpleUploadedFile(more.pop("file_name", "a.jsonl"), content)
    return sent(client, path, to=to, file=file, **more)


def seal_of(response: Any) -> str:
    return str(html_of(response).css_first("input[name=seal]").attributes["value"])


def launched(client: Client, content: bytes, *, to: Workspace, **more: Any) -> Any:
    """Check a file, then launch it; `more` goes with both."""
    seal = seal_of(upload(client, content, to=to, **more))
    return upload(client, content, to=to, **{"step": "launch", "seal": seal, "on_invalid": "skip", **more})


def role_in(workspace: str, role: str, *permissions: str) -> tuple[Member, Client]:
    somebody = member(workspace, f"{role.lower()}@{workspace.lower()}.test", role=role)
    return somebody, staff(somebody.user, *permissions)


# --- A live try


@pytest.mark.django_db(transaction=True)
class TestTrying:
    def test_calls_live_and_shows_the_answer(self, root: Client, acme: Member) -> None:
        (answer,) = answers(lambda: sent(root, TRY, to=acme.workspace, **{"input-0": "21"}))
        run = Run.objects.get()
        assert (run.status, run.execution_mode, run.user.username) == (RunStatus.SUCCEEDED, "LIVE", "root")
        assert run.workspace == acme.workspace
        shown = outcome(answer)
        assert '"n": 42' in shown
        assert " ms" in shown or " s" in shown
        assert html_of(answer).css_first(f'a[href="/admin/runs/run/{run.pk}/change/"]') is not None
        assert RunTransition.objects.filter(run=run).earliest("id").actor_uid == run.user.uid

    def test_shows_the_error_of_the_action_with_its_field(self, root: Client, acme: Member) -> None:
        @action("fail")
        def fail(input: dict[str, Any]) -> None:
            raise ActionError("BAD_LUCK", EVIL, {"field": "n"})

        path = "/admin/runs/run/try/fail/"
        (answer,) = answers(lambda: sent(root, path, to=acme.workspace, **{"input-json": '{"n": 1}'}))
        html, shown = html_of(answer), outcome(answer)
        assert_harmless(html)
        assert "BAD_LUCK" in shown
        assert "alert('x')" in shown
        assert "Field n" in shown
        assert Run.objects.get().status == RunStatus.FAILED


@pytest.mark.django_db
class TestTryForm:
    def test_is_made_of_the_schemas(self, root: Client, acme: Member) -> None:
        @action("scale", title=EVIL, description=EVIL)
        def scale(input: dict[str, int], *, parameters: Options) -> int:
            return 0

        html = page(root, "/admin/runs/run/try/scale/")
        assert_harmless(html)
        assert html.css_first("textarea[name=input-json]") is not None
        factor = html.css_first("input[name=parameters-0]")
        assert (factor.attributes["type"], factor.attributes["min"], factor.attributes["step"]) == ("number", "1", "1")
        assert "factor" in text(html)
        assert "Left empty: 2" in text(html)
        as_json = page(root, "/admin/runs/run/try/scale/?as=json")
        assert '"factor": 2' in as_json.css_first("textarea[name=parameters-json]").text()

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"input-0": "1.5"}, "n : must be a whole number"),
            ({}, "n : This field is required."),
            ({"input-0": "1", "workspace": "9" * 30}, "Workspace : Select a valid choice"),
            ({"input-0": "1", "workspace": "\0"}, "Workspace : Null characters"),
            ({"input-0": "\0"}, "n : a text contains a NUL character"),
        ],
    )
    def test_says_what_is_wrong_with_a_field(
        self, root: Client, acme: Member, fields: dict[str, str], told: str
    ) -> None:
        assert told in outcome(root.post(TRY, {"workspace": acme.workspace.pk, **fields}))
        assert not Run.objects.exists()

    def test_shows_what_the_domain_refuses(self, root: Client, acme: Member) -> None:
        answer = sent(root, f"{TRY}?as=json", to=acme.workspace, **{"input-json": '{"m": 1}', "parameters-json": "{}"})
        assert "BAD_INPUT" in outcome(answer)
        assert "n: Field required" in outcome(answer)
        catalogue.find("double").row.__class__.objects.update(paused=True)
        answer = sent(root, TRY, to=acme.workspace, **{"input-0": "1"})
        assert "UNAVAILABLE" in outcome(answer, 503)
        catalogue.find("double").row.__class__.objects.update(paused=False, enabled=False)
        assert "switched off" in outcome(sent(root, TRY, to=acme.workspace, **{"input-0": "1"}))
        assert "switched off" in text(page(root, TRY))
        assert not Run.objects.exists()


# --- Uploads


@pytest.mark.django_db
class TestUploading:
    def test_shows_what_does_not_fit_and_stores_nothing(self, root: Client, acme: Member) -> None:
        answer = upload(root, TWO_BAD, to=acme.workspace)
        lines = [" ".join(row.text(separator=" ").split()) for row in html_of(answer).css(".launching-rows tbody tr")]
        assert [line[:4] for line in lines] == ["2 n ", "4 n "]
        assert "valid integer" in lines[0]
        assert "Field required" in lines[1]
        assert "Inputs 4 Fit 2 Do not fit 2" in outcome(answer)
        assert not Run.objects.exists()
        assert not InputSet.objects.exists()

    def test_launches_what_was_checked(self, root: Client, acme: Member) -> None:
        answer = launched(root, TWO_BAD, to=acme.workspace)
        run = Run.objects.with_progress().get()
        assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/runs/run/{run.pk}/change/")
        assert (run.progress.input_count, run.progress.invalid_count, run.user.username) == (4, 2, "root")
        work()
        labels = [one["last_error"] and one["last_error"]["label"] for one in inputs_of(run)]
        assert labels == [None, "BAD_INPUT", "BAD_INPUT", None]

    def test_leads_a_page_that_stays_to_the_run(self, root: Client, acme: Member) -> None:
        content = b'{"n": 1}'
        seal = seal_of(upload(root, content, to=acme.workspace))
        file = SimpleUploadedFile("a.jsonl", content)
        fields = {"workspace": acme.workspace.pk, "file": file, "step": "launch", "seal": seal}
        answer = root.post(UPLOAD, fields, headers={"HX-Request": "true"})
        assert answer.headers["HX-Redirect"] == f"/admin/runs/run/{Run.objects.get().pk}/change/"

    def test_refuses_what_does_not_fit_unless_it_is_to_be_skipped(self, root: Client, acme: Member) -> None:
        answer = launched(root, TWO_BAD, to=acme.workspace, on_invalid="reject")
        assert "inputs[1]: n: " in outcome(answer)
        assert "2 of 4 inputs do not fit; nothing was stored." in outcome(answer)
        assert not Run.objects.exists()

    @pytest.mark.parametrize("change", ["content", "workspace", "parameters", "none sent", "another's"])
    def test_launches_nothing_else_than_what_was_checked(
        self, root: Client, acme: Member, other: Member, change: str
    ) -> None:
        @action("scale")
        def scale(input: dict[str, int], *, parameters: Options) -> int:
            return 0

        path, content = "/admin/runs/run/upload/scale/", b'{"n": 1}'
        ada = staff(acme.user, "runs.add_run")
        seal = seal_of(upload(ada if change == "another's" else root, content, to=acme.workspace, path=path))
        again: dict[str, Any] = {"content": content, "to": acme.workspace, "step": "launch", "seal": seal}
        changed = {
            "content": {"content": b'{"n": 2}'},
            "workspace": {"to": other.workspace},
            "parameters": {"parameters-0": "3"},
            "none sent": {"seal": ""},
        }
        answer = upload(root, path=path, **{**again, **changed.get(change, {})})
        assert "not what was checked" in outcome(answer)
        assert not Run.objects.exists()
        again = {**again, **changed.get(change, {}), "seal": seal_of(answer)}
        assert upload(root, path=path, **again).status_code == 302

    def test_gives_the_run_its_name_tags_and_parameters(self, root: Client, acme: Member) -> None:
        @action("scale")
        def scale(input: dict[str, int], *, parameters: Options) -> int:
            return 0

        more = {"parameters-0": "3", "tags": " a, b,,", "name": EVIL, "file_name": "a.csv"}
        launched(root, b"n\n1\n", to=acme.workspace, path="/admin/runs/run/upload/scale/", **more)
        run = Run.objects.get()
        assert (run.name, run.tags, run.parameters) == (EVIL, ["a", "b"], {"factor": 3})

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b'{"n": 1}\n{"n": }', "Line 2: The body is not valid JSON"),
            (b"", "inputs: there are none. Send 1 or more."),
            (b'{"n": 1}\n' * 4, "inputs: 4 are more than the 3 one run takes (RUNYARD_MAX_INPUTS)."),
            (b'{"n": "x"}', "No input fits the action."),
        ],
    )
    def test_says_why_a_file_cannot_run(
        self, root: Client, acme: Member, settings: Any, content: bytes, told: str
    ) -> None:
        settings.RUNYARD_MAX_INPUTS = 3
        answer = upload(root, content, to=acme.workspace)
        assert told in outcome(answer)
        assert html_of(answer).css_first("button[value=launch]") is None
        assert not Run.objects.exists()

    def test_takes_no_more_than_the_api(self, root: Client, acme: Member, settings: Any) -> None:
        settings.RUNYARD_MAX_BODY_BYTES = 100
        told = "larger than the 100 bytes allowed (RUNYARD_MAX_BODY_BYTES)"
        assert told in outcome(upload(root, b" " * 101, to=acme.workspace), 413)
        assert told in outcome(upload(root, b" " * 200_000, to=acme.workspace), 413)

    def test_takes_in_few_large_files_at_once(
        self, root: Client, acme: Member, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(body, "LARGE_BODY_WAIT_S", 0.01)
        large = b'{"n": 1}' + b" " * body.LARGE_BODY_BYTES
        places = threading.BoundedSemaphore(1)
        monkeypatch.setattr(body, "_large_bodies", lambda: places)
        assert "all fit" in outcome(upload(root, large, to=acme.workspace))
        places.acquire()
        assert "large bodies are being taken in already" in outcome(upload(root, large, to=acme.workspace), 503)

    def test_runs_none_of_what_a_file_holds(self, root: Client, acme: Member) -> None:
        content = f'{{"{EVIL[:8]}": 1}}\n'.encode() + b'"<script>alert(1)</script>"\n'
        html = html_of(upload(root, content, to=acme.workspace, file_name="<img src=x onerror=alert(1)>.jsonl"))
        assert_harmless(html)
        assert "<script>alert(1)</script>" in text(html)


# --- Who may


@pytest.mark.django_db
@pytest.mark.parametrize("path", [TRY, UPLOAD])
class TestWho:
    def test_it_takes_the_permission_and_a_role(self, acme: Member, path: str) -> None:
        _, ops = role_in("Acme", "OPS", "runs.add_run")
        _, reader = role_in("Acme", "USER", "runs.add_run")
        _, unasked = role_in("Globex", "OPS", "runs.view_run")
        assert [one.get(path).status_code for one in (ops, reader, unasked)] == [200, 403, 403]
        assert [sent(one, path, to=acme.workspace).status_code for one in (reader, unasked)] == [403, 403]
        for answer in (Client().get(path), Client().post(path)):
            assert (answer.status_code, answer.headers["Location"][:13]) == (302, "/admin/login/")

    def test_others_workspaces_are_neither_offered_nor_taken(self, acme: Member, other: Member, path: str) -> None:
        ada = staff(acme.user, "runs.add_run")
        offered = [option.text() for option in page(ada, path).css("select[name=workspace] option")]
        assert offered == ["Acme"]
        file = SimpleUploadedFile("a.jsonl", b'{"n": 1}')
        answer = ada.post(path, {"workspace": other.workspace.pk, "input-0": "1", "file": file})
        assert "Select a valid choice" in outcome(answer)
        assert not Run.objects.exists()

    def test_a_read_changes_nothing(self, root: Client, acme: Member, path: str) -> None:
        query = {"workspace": acme.workspace.pk, "input-0": "1", "step": "launch"}
        catalogue.sync()
        with CaptureQueriesContext(connection) as queries:
            assert root.get(path, query).status_code == 200
        assert not Run.objects.exists()
        assert len(queries) <= 6, [query["sql"][:90] for query in queries]

    def test_a_post_needs_its_token(self, root: Client, acme: Member, path: str) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = root.cookies
        assert sent(strict, path, to=acme.workspace, **{"input-0": "1"}).status_code == 403

    def test_there_is_none_for_an_unknown_action(self, root: Client, acme: Member, path: str) -> None:
        assert root.get(path.replace("double", "nope")).status_code == 404


@pytest.mark.django_db
def test_an_actions_page_leads_there(root: Client, acme: Member) -> None:
    @action("slow", modes=["async"])
    def slow(input: dict[str, int]) -> None: ...

    def links(name: str, client: Client = root) -> list[str]:
        html = page(client, f"/admin/actions/action/{catalogue.find(name).row.pk}/change/")
        found = [one.attributes["href"] or "" for one in html.css("a[href]")]
        return [one for one in found if one.startswith("/admin/runs/run/") and one != "/admin/runs/run/"]

    assert links("double") == [TRY, UPLOAD]
    assert links("slow") == ["/admin/runs/run/upload/slow/"]
    assert links("double", staff(acme.user, "actions.view_action")) == []


@pytest.mark.django_db
def test_the_workspaces_offered_are_bounded(root: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.admin_launch_forms.WORKSPACES_OFFERED", 2)
    made = [Workspace.objects.create(name=f"W{n}") for n in range(4)]

    def offered(**query: Any) -> list[str]:
        return [one.text() for one in page(root, TRY, **query).css("select[name=workspace] option")][1:]

    assert offered() == ["W0", "W1"]
    assert offered(workspace=made[3].pk) == ["W0", "W1", "W3"]
    assert offered(workspace="x" * 30) == ["W0", "W1"]
