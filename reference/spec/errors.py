"""The error a caller can mend: one line that says what, where and what was expected. The command line exits with 2."""


class BadInput(ValueError):
    """Bad file, option or value."""


class OutOfMemory(BadInput):
    """A device has less memory than is needed; the message gives both."""


class NoDevice(BadInput):
    """The device that was asked for is not here (no GPU, no compiler)."""
