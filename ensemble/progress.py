"""How long work reports itself: a protocol, so that no stage knows the terminal."""

from typing import Protocol

from tagstack.base_models.pipeline import ScoreProgress


class Progress(Protocol):
    """Receives what is going on."""

    def stage(self, text: str) -> None:
        """Say which stage begins."""

    def notice(self, text: str) -> None:
        """Say something that the user should know and that stops nothing."""

    def scored(self, state: ScoreProgress) -> None:
        """Say how far level 1 is."""


class Silent:
    """Reports nothing."""

    def stage(self, text: str) -> None:
        """Ignore a stage."""

    def notice(self, text: str) -> None:
        """Ignore a notice."""

    def scored(self, state: ScoreProgress) -> None:
        """Ignore a state."""
