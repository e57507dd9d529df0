"""How long work tells the outside where it stands."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Is told (stage, done, total)."""
