"""What can go wrong in a backend that is installed: after these, another backend may do."""

from tagstack.configs.errors import TagstackError


class BackendError(TagstackError):
    """A backend cannot take a tagger on this machine; another may.

    An operator that it does not know, a batch fixed inside the network, a library or driver that
    is too old, an engine that fails, memory that ends, a device that is lost. Never a file that
    is damaged or contradicts its contract: no backend could take that.
    """


class DeviceMemoryError(BackendError):
    """The device has no memory left for this; less at a time may fit."""


def one_line(error: object) -> str:
    """Return a runtime's message as one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]
