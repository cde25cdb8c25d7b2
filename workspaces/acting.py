"""Acting in the admin: the verbs of a model as buttons of a row's page and bulk actions of the list.

Both lead to a page that says what will happen, and to how many rows; nothing happens but by posting that page.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Case, Count, Model, Q, QuerySet, Value, When
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin
from unfold.enums import ActionVariant

from rest import pagination
from workspaces import staff_verbs
from workspaces.acting_messages import count_of, tell_of_many, tell_of_none, tell_of_one
from workspaces.models import Scope
from workspaces.staff_verbs import MOST_ROWS, Verb

LONGEST_KEY = 19  # digits
NAMED = 10
TEMPLATE = "admin/verb_confirmation.html"


class ActingAdmin(ModelAdmin):
    """An admin with verbs. Read-only ones have them too: a verb is no form of the row."""

    verbs: ClassVar[tuple[Verb, ...]] = ()

    class Media:
        css: ClassVar = {"all": ["workspaces/pages.css"]}

    # --- Who may

    def rows_of_role(self, request: HttpRequest, scope: Scope) -> Q:
        """Return which rows the person's role in their workspace lets them act on, where the API asks for `scope`."""
        raise NotImplementedError

    def verbs_of(self, request: HttpRequest) -> list[Verb]:
        """Return the verbs that the person signed in has the permission for."""
        return [verb for verb in self.verbs if self._may(request, verb)]

    def verbs_for(self, request: HttpRequest, row: Model) -> list[Verb]:
        """Return the verbs that the person signed in may do to a row as it is now. One query, if any."""
        verbs = self.verbs_of(request)
        if not verbs:
            return []
        asked = [Case(When(verb.offered & self._allowed(request, verb), then=True), default=False) for verb in verbs]
        told = self.model._default_manager.filter(pk=row.pk).values_list(Value(1), *asked).first() or ()
        return [verb for verb, is_offered in zip(verbs, told[1:], strict=False) if is_offered]

    def _may(self, request: HttpRequest, verb: Verb) -> bool:
        return self.has_view_permission(request) and request.user.has_perm(verb.permission)

    def _allowed(self, request: HttpRequest, verb: Verb) -> Q:
        allowed = self.rows_of_role(request, verb.scope)
        return allowed | verb.own(request.user) if verb.own and not request.user.is_superuser else allowed  # type: ignore[arg-type]

    def _rows(self, request: HttpRequest, verb: Verb) -> QuerySet[Any]:
        """Return the rows that the person may do a verb to, whatever their state."""
        return self.get_queryset(request).filter(self._allowed(request, verb))

    # --- Where the verbs show

    def get_urls(self) -> list[URLPattern]:
        """Add the pages of the verbs."""
        label = f"{self.opts.app_label}_{self.opts.model_name}"
        added = []
        for verb in self.verbs:
            one = self.admin_site.admin_view(partial(self._one_view, verb))
            many = self.admin_site.admin_view(partial(self._many_view, verb))
            added.append(path(f"bulk/{verb.name}/", many, name=f"{label}_bulk_{verb.name}"))
            added.append(path(f"<path:object_id>/{verb.name}/", one, name=f"{label}_{verb.name}"))
        return [*added, *super().get_urls()]

    def get_actions(self, request: HttpRequest) -> Any:
        """Add the verbs to the actions of the list."""
        found = super().get_actions(request)
        if IS_POPUP_VAR not in request.GET:
            for verb in self.verbs_of(request):
                found[verb.name] = (partial(_ask, verb), verb.name, verb.title)
        return found

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Add the buttons of the verbs to a row's page; `verbs` are their names."""
        row = context.get("original")
        verbs = self.verbs_for(request, row) if row is not None else []
        buttons = [self._button(verb, row) for verb in verbs]
        context["actions_detail"] = [*(context.get("actions_detail") or []), *buttons]
        context["verbs"] = [verb.name for verb in verbs]
        return super().render_change_form(request, context, *args, **kwargs)

    def _button(self, verb: Verb, row: Any) -> dict[str, Any]:
        variant = ActionVariant.DANGER if verb.is_grave else ActionVariant.DEFAULT
        return {
            "title": verb.title,
            "icon": verb.icon,
            "variant": variant,
            "attrs": {},
            "dialog": None,
            "path": self._url(verb.name, row.pk),
        }

    def _url(self, name: str, *args: Any) -> str:
        return reverse(f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{name}", args=args)

    # --- One row

    def _one_view(self, verb: Verb, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Ask whether a verb shall be done to a row, and do it."""
        if not self._may(request, verb):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self._rows(request, verb).filter(pk=row.pk).exists():
            raise PermissionDenied
        form = _form(verb, request, is_bound=request.method == "POST")
        if request.method != "POST" or not _is_valid(form):
            told = {"original": row, "names": [verb.naming(row)], "back": self._url("change", row.pk)}
            return self._confirmation(request, verb, form, f"this {self.opts.verbose_name}", **told)
        outcome = self._act(request, verb, [row.pk], form)
        tell_of_one(request, outcome)
        return HttpResponseRedirect(self._url("change", row.pk))

    # --- Many rows

    def ask_of_many(self, request: HttpRequest, verb: Verb, chosen: QuerySet[Any]) -> HttpResponseBase | None:
        """Ask whether a verb shall be done to those of the rows chosen in a list that it can be done to.

        Looks no further than lists count.
        """
        allowed = self._allowed(request, verb)
        within = self.model._default_manager.filter(pk__in=chosen.values("pk")[: pagination.COUNTED_UP_TO])
        counted = within.aggregate(
            chosen=Count("pk"), allowed=Count("pk", filter=allowed), ready=Count("pk", filter=allowed & verb.offered)
        )
        if not counted["ready"]:
            tell_of_none(request, verb, self.opts, chosen=counted["chosen"], allowed=counted["allowed"])
            return None
        ready = within.filter(allowed & verb.offered).order_by("pk")
        keys = list(ready.values_list("pk", flat=True)[:MOST_ROWS])
        back, notes = request.get_full_path(), self._left_out(counted, len(keys))
        return self._confirm_many(request, verb, keys, _form(verb, request, is_bound=False), back=back, notes=notes)

    def _left_out(self, counted: dict[str, int], taken: int) -> list[str]:
        """Return why the count is not that of the rows chosen."""
        told = (
            (counted["chosen"] - counted["allowed"], "left out: your role in their workspace does not allow it."),
            (counted["allowed"] - counted["ready"], "left out: this is not for the state they are in."),
            (counted["ready"] - taken, f"left for the next time: at most {MOST_ROWS:,} at once, the oldest first."),
        )
        return [f"{count_of(count, self.opts)} {why}" for count, why in told if count]

    def _many_view(self, verb: Verb, request: HttpRequest) -> HttpResponseBase:
        """Do a verb to the rows that were confirmed."""
        if not self._may(request, verb):
            raise PermissionDenied
        back = self._list_address(request)
        if request.method != "POST":
            return HttpResponseRedirect(back)
        keys = _keys(request.POST.get("rows", ""))
        if keys is None:
            return HttpResponseBadRequest()
        form = _form(verb, request, is_bound=True)
        if not _is_valid(form):
            return self._confirm_many(request, verb, keys, form, back=back)
        outcome = self._act(request, verb, keys, form)
        tell_of_many(request, verb, outcome, self.opts)
        return HttpResponseRedirect(back)

    def _confirm_many(
        self, request: HttpRequest, verb: Verb, keys: list[int], form: Form | None, **more: Any
    ) -> HttpResponse:
        filters = self.get_preserved_filters(request)
        return self._confirmation(
            request,
            verb,
            form,
            count_of(len(keys), self.opts),
            names=[verb.naming(row) for row in self._rows(request, verb).filter(pk__in=keys).order_by("pk")[:NAMED]],
            unnamed=max(0, len(keys) - NAMED),
            keys=",".join(map(str, keys)),
            action=self._url(f"bulk_{verb.name}") + (f"?{filters}" if filters else ""),
            **more,
        )

    def _list_address(self, request: HttpRequest) -> str:
        filters = request.GET.get("_changelist_filters", "")
        return self._url("changelist") + (f"?{filters}" if filters else "")

    # --- Both

    def _act(self, request: HttpRequest, verb: Verb, keys: list[int], form: Form | None) -> staff_verbs.Outcome:
        return staff_verbs.act(
            verb,
            self._rows(request, verb),
            keys,
            person=request.user,  # type: ignore[arg-type]
            asked=form.cleaned_data if form else {},
            note=partial(self.log_change, request),
        )

    def _confirmation(
        self, request: HttpRequest, verb: Verb, form: Form | None, rows: str, **more: Any
    ) -> HttpResponse:
        yes = f"Yes, {verb.title[0].lower()}{verb.title[1:]}"
        context = self.page_context(request, verb.question(rows), verb=verb, form=form, yes=yes, **more)
        if form is not None:
            context["media"] += form.media
        return TemplateResponse(request, TEMPLATE, context)


def _ask(verb: Verb, model_admin: ActingAdmin, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponseBase | None:
    return model_admin.ask_of_many(request, verb, chosen)


def _form(verb: Verb, request: HttpRequest, *, is_bound: bool) -> Form | None:
    """Return the form of a verb, if it has one; not bound, with what the link to it names."""
    if verb.form is None:
        return None
    if is_bound:
        return verb.form(request.POST)
    return verb.form(initial={name: request.GET[name] for name in verb.form.base_fields if name in request.GET})


def _is_valid(form: Form | None) -> bool:
    return form is None or form.is_valid()


def _keys(text: str) -> list[int] | None:
    """Return the keys that a confirmation names, each once, or None for what no confirmation of ours says."""
    parts = text.split(",", MOST_ROWS)
    if len(parts) > MOST_ROWS or not all(one.isdecimal() and len(one) <= LONGEST_KEY for one in parts):
        return None
    return list(dict.fromkeys(map(int, parts)))
