"""The project's one error class; the command line turns only this into a message."""


class TagstackError(Exception):
    """A fault that the user can mend.

    The message says what is wrong, the value, what was expected, and what to do. Every other
    exception is a fault of ours and keeps its traceback.
    """
