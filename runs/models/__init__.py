"""What happened: a run, its inputs, the batches they are executed in, the results, and the run's timeline.

The tables are written by one module each: `storing` makes a run and all it starts with (`scheduled` many at once),
`lifecycle` moves a run's status, `dispatch` a batch's, `checkpoint` appends results and moves the counters, which
`resumption` takes back for what runs again, `dependencies` writes whom a run waits for, and `outbox` what is to be
called back. `deletion` takes a run away. Querysets here ask and never change.
"""

from runs.models.batches import Batch, BatchQuerySet, BatchStatus, ResultChunk
from runs.models.callbacks import CallbackOn, CallbackPer, OutboxEntry, OutboxEntryQuerySet, RunCallback
from runs.models.fields import OrderedJSONField
from runs.models.inputs import InputChunk, InputSet
from runs.models.run import (
    CLAIMABLE,
    CREATION,
    EXECUTABLE,
    HAS_ENDED,
    HAS_ENDED_SQL,
    IS_UNFINISHED,
    TERMINAL,
    Actor,
    Dependency,
    ExecutionMode,
    Run,
    RunProgress,
    RunQuerySet,
    RunStatus,
    RunTransition,
)
from runs.models.turns import ActionGate, ReadyRun, WorkspaceTurn

__all__ = [
    "CLAIMABLE",
    "CREATION",
    "EXECUTABLE",
    "HAS_ENDED",
    "HAS_ENDED_SQL",
    "IS_UNFINISHED",
    "TERMINAL",
    "ActionGate",
    "Actor",
    "Batch",
    "BatchQuerySet",
    "BatchStatus",
    "CallbackOn",
    "CallbackPer",
    "Dependency",
    "ExecutionMode",
    "InputChunk",
    "InputSet",
    "OrderedJSONField",
    "OutboxEntry",
    "OutboxEntryQuerySet",
    "ReadyRun",
    "ResultChunk",
    "Run",
    "RunCallback",
    "RunProgress",
    "RunQuerySet",
    "RunStatus",
    "RunTransition",
    "WorkspaceTurn",
]
