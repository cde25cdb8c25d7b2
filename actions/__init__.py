"""What can be called. Everything an action's author needs is here: `from actions import action, ActionError, ...`.

Holds no model and needs no settings, so that an action module can be imported anywhere.
"""

from actions.context import Context
from actions.definition import ActionDefinition, action
from actions.exceptions import ActionDefinitionError, ActionError, Retry

__all__ = ["ActionDefinition", "ActionDefinitionError", "ActionError", "Context", "Retry", "action"]
