"""What can go wrong in a backend that is installed: after these, another backend may do."""

from tagstack.configs.errors import TagstackError


class BackendError(TagstackError):
    """A backend is there but cannot run this model: an engine that fails, a device that is lost."""


class DeviceMemoryError(BackendError):
    """The device has no memory left for this; less at a time may fit."""


def one_line(error: object) -> str:
    """Return a runtime's message as one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]
