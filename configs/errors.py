"""The project's one error class; the command line turns only this into a message."""

from tagstack.configs.shown import shown


class TagstackError(Exception):
    r"""A fault that the user can mend.

    The message says what is wrong, the value, what was expected, and what to do. Every other
    exception is a fault of ours and keeps its traceback. As text it is one line, whatever names
    of files and tags it holds.

    Examples
    --------
    >>> print(TagstackError("No such folder: a\nb."))
    No such folder: a\nb.
    """

    def __str__(self) -> str:
        return shown(super().__str__())
