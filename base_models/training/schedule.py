"""The learning rate and the averaging of weights over a training; no library needed."""

import math

WARM_UP = 0.12
AVERAGE_DECAY = 0.997


def one_cycle(progress: float, warm_up: float = WARM_UP) -> float:
    """Return the share of the peak learning rate at ``progress`` in [0, 1]: up, then a cosine."""
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def decay_at(step: int, most: float = AVERAGE_DECAY) -> float:
    """Return how much of the average is kept at a step: little at first, since it knows nothing."""
    return min(most, (step + 1) / (step + 10))
