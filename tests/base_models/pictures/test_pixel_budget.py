"""The pixel budget: never more than the limit at once, and never a picture that waits for ever."""

import threading
import time

import pytest

from tagstack.base_models.pictures.images import DecodingBudget


def test_pictures_share_the_limit() -> None:
    budget, guard = DecodingBudget(10), threading.Lock()
    now, most = 0, 0

    def decode(pixels: int) -> None:
        nonlocal now, most
        with budget.taking(pixels):
            with guard:
                now += pixels
                most = max(most, now)
            time.sleep(0.002)
            with guard:
                now -= pixels

    threads = [threading.Thread(target=decode, args=(1 + i % 7,)) for i in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert 7 <= most <= 10


def test_a_picture_over_the_limit_goes_alone() -> None:
    with DecodingBudget(10).taking(50):
        pass


def test_a_failed_decoder_gives_its_pixels_back() -> None:
    budget = DecodingBudget(10)
    with pytest.raises(ValueError, match="broken"), budget.taking(10):
        raise ValueError("broken")
    with budget.taking(10):
        pass
