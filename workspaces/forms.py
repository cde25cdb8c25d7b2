"""The admin's forms for workspaces, members and keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.utils import timezone
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminSelectWidget

from workspaces.keys import lower_role
from workspaces.models import ApiKey, Membership, Role, Scope, Workspace


class WorkspaceForm(forms.ModelForm):  # type: ignore[type-arg]
    """A workspace's name."""

    class Meta:
        model = Workspace
        fields = ("name",)

    def clean_name(self) -> str:
        """Refuse a name that another workspace has, in whatever case."""
        name: str = self.cleaned_data["name"]
        if Workspace.objects.filter(name__iexact=name).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError("There is a workspace of this name.")
        return name


class MembershipForm(forms.ModelForm):  # type: ignore[type-arg]
    """A user, a workspace, and the role of the one in the other."""

    class Meta:
        model = Membership
        fields = ("user", "workspace", "role")
        help_texts: ClassVar = {"role": "ADMIN: all. OPS: runs, schedules and callbacks. USER: reading."}


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """What a new key is to be. Its member and workspace are one choice."""

    role = forms.ChoiceField(
        choices=[("", "As its member's"), *Role.choices],
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="The lower of the key's and its member's is in force, so a key never carries more than its member.",
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, widget=UnfoldAdminCheckboxSelectMultipleWidget, initial=list(Scope.values)
    )

    class Meta:
        model = ApiKey
        fields = ("membership", "name", "role", "scopes", "expires_at")
        help_texts: ClassVar = {"name": "What it is for.", "expires_at": "Left empty: never."}

    def clean_expires_at(self) -> datetime | None:
        """Refuse a time that has passed."""
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now():
            raise forms.ValidationError("This time has passed.")
        return expires_at

    def clean(self) -> dict[str, Any]:
        """Refuse a role above the member's."""
        cleaned = super().clean() or self.cleaned_data
        role, membership = cleaned.get("role"), cleaned.get("membership")
        if role and membership and lower_role(role, membership.role) != role:
            self.add_error("role", f"The member is {membership.role}: a key cannot carry more.")
        return cleaned
