"""Whose turn it is, and of which action how much may be begun."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from actions.models import Action
from runs.models.run import Run
from workspaces.models import Workspace


class ReadyRun(models.Model):
    """A run that has a batch to claim, with its turn: the lowest turn is served next.

    Turns are virtual times of start-time fair queueing: a workspace's runs get consecutive ones, so that a workspace
    with one run is served as often as one with two hundred. `runs.turns` keeps this table; a row too many or too
    few costs a claim or waits for the sweep, and loses nothing.
    """

    run = models.OneToOneField(Run, on_delete=models.CASCADE, primary_key=True, related_name="+")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+", db_index=False)
    action = models.ForeignKey(Action, on_delete=models.CASCADE, related_name="+", db_index=False)
    turn = models.BigIntegerField(db_index=True)
    waiting_since = models.DateTimeField(db_default=Now(), help_text="The last time it was served, or got in line.")


class WorkspaceTurn(models.Model):
    """The last turn handed out to a workspace's runs, and the last one served: the latest of all is the time now."""

    workspace = models.OneToOneField(Workspace, on_delete=models.CASCADE, primary_key=True, related_name="+")
    last_turn = models.BigIntegerField(default=0)
    served_turn = models.BigIntegerField(default=0, db_index=True)


class ActionGate(models.Model):
    """What the installation's workers have begun of an action that has a rate, and when they may begin more.

    `begun` is a list of [epoch seconds, number of inputs], no older than the rate's period. The row is also the lock
    under which the batches of an action with `max_concurrency` are counted (`runs.gates`).
    """

    action = models.OneToOneField(Action, on_delete=models.CASCADE, primary_key=True, related_name="+")
    begun = models.JSONField(default=list)
    closed_until = models.DateTimeField(null=True)
    closed_by = models.CharField(max_length=50, blank=True, help_text="The rates it was closed under.")
