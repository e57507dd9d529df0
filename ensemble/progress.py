"""How long work reports itself: a protocol, so that no stage knows the terminal."""

from typing import Protocol

from tagstack.base_models.scoring.pipeline import ScoreProgress


class Progress(Protocol):
    """Receives what is going on."""

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        """Say which stage is under way, and how far; ``total`` is 0 where it is not known."""

    def notice(self, text: str) -> None:
        """Say something that the user should know and that stops nothing."""

    def scored(self, state: ScoreProgress) -> None:
        """Say how far level 1 is."""


class Silent:
    """Reports nothing."""

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        """Ignore a stage."""

    def notice(self, text: str) -> None:
        """Ignore a notice."""

    def scored(self, state: ScoreProgress) -> None:
        """Ignore a state."""
