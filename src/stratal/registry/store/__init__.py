"""All SQL of the registry.

May live here: statements, the mapping of rows to records, and the operations, each one transaction.
May not: rules. What may move, pass or count is asked of stages, gates and approvals.
"""

from stratal.registry.store.models import ModelStore

__all__ = ["ModelStore"]
