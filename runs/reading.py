"""Reading what belongs to a run that may be deleted meanwhile.

Deletion is one transaction. So whoever still finds the run after reading has read nothing but what was there, and
whoever does not find it may have read a part, or failed over what was missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rest.errors import ApiError, NotFound
from runs.models import Run
from statements.compiled import Compiled, Parameter

_ONE = Compiled(lambda: Run.objects.only("pk").filter(pk=Parameter("pk")))


def require(run: Run) -> None:
    """Raise `NotFound` if the run has been deleted."""
    if _ONE.first(pk=run.pk) is None:
        raise not_found(run)


def not_found(run: Run) -> NotFound:
    """Return the error for a run that has been deleted."""
    return NotFound("There is no such run.", {"run_uid": str(run.uid)})


@contextmanager
def whole(run: Run) -> Iterator[None]:
    """Let what is read inside be all of it, or nothing.

    Raises:
        NotFound: the run was deleted meanwhile.
    """
    try:
        yield
    except ApiError:
        raise
    except Exception:
        require(run)
        raise
    require(run)
