"""What ``thresholds.strategy`` can be, in words."""

from dataclasses import dataclass

from tagstack.configs.hooks import THRESHOLD_STRATEGIES
from tagstack.ensemble.thresholds.strategies.strategy import built_in, plug_ins


@dataclass(frozen=True, kw_only=True)
class StrategyRow:
    """A threshold strategy in words; the fields are those of `Strategy`."""

    name: str
    title: str
    optimises: str
    reads: tuple[str, ...]
    package: str


def describe_strategies() -> tuple[StrategyRow, ...]:
    """Return every strategy that the settings can name; a broken plug-in costs a warning."""
    return tuple(
        StrategyRow(
            name=strategy.name,
            title=strategy.title,
            optimises=strategy.optimises,
            reads=tuple(strategy.reads),
            package=THRESHOLD_STRATEGIES.offer(strategy.name).package or "built in",
        )
        for strategy in (*built_in(), *plug_ins())
    )
