"""The harness's own error that a user can mend. Like reference.spec.errors.BadInput: one line, exit code 2.

It stands apart from it because reports and the store know nothing of models.
"""


class BadCall(ValueError):
    """A bad option, configuration, expression or folder."""
