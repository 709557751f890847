"""What a rule does with its results: one file for each kind of action, and how one is built from AWS's shape.

Actions deliver and say what failed; trying again later, counting and error actions are the router's.
"""

from .base import Action, ActionContext, Refused, Undelivered, build
from .table import Actions

__all__ = ["Action", "ActionContext", "Actions", "Refused", "Undelivered", "build"]
