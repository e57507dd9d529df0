"""Two arms behind one service: each picture has its own, and its outcome counts for that one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

import tagstack
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.experiments.experiment import Experiment
from tagstack.ensemble.serving.app import ARM_HEADER, create_app
from tagstack.ensemble.serving.arms import ArmedStack, unit_of
from tagstack.ensemble.serving.guard import Access
from tagstack.ensemble.serving.live import LiveStack
from tagstack.ensemble.serving.outcomes import outcome_router
from tagstack.ensemble.serving.running import serving_settings
from tagstack.ensemble.tasks.experiment import bundle_of, start_experiment
from tagstack.ensemble.thresholds.versions import ThresholdVersions


@pytest.fixture
def armed(
    own_bundle: Path, tmp_path: Path, settings_with: Callable[..., Settings]
) -> Iterator[tuple[TestClient, Experiment, ArmedStack]]:
    """Return a service whose arm B tags nothing, its experiment and its stack."""
    versions = ThresholdVersions(own_bundle)
    fit = versions.thresholds("fit")
    versions.add(replace(fit, value=np.full_like(fit.value, np.inf)), {"by": "a test"})
    versions.rollback()
    folder, settings = tmp_path / "try", settings_with(experiment={"effect": 0.5})
    experiment = start_experiment(
        folder, {"A": f"{own_bundle}@fit", "B": f"{own_bundle}@1"}, settings.experiment,
        name="try", outcome="accepted", paired=False,
    )  # fmt: skip
    stack = tagstack.load(own_bundle, settings=serving_settings(settings))
    own = ArmedStack(stack, experiment, {a: bundle_of(b) for a, b in experiment.arms.items()})
    live = LiveStack(own, own_bundle)
    app = create_app(
        live, Access(), settings, routers=[outcome_router(folder)], experiment=experiment
    )
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client, experiment, own


def test_each_picture_is_tagged_by_its_own_arm(
    armed: tuple[TestClient, Experiment, ArmedStack], pictures: list[bytes]
) -> None:
    client, experiment, stack = armed
    files = [("file", (f"{i}.png", data)) for i, data in enumerate(pictures)]
    answer = client.post("/tags", files=files)
    images = answer.json()["images"]
    arms = [experiment.arm_of(unit_of(data)) for data in pictures]
    assert set(arms) == {"A", "B"}
    assert [image["arm"] for image in images] == arms
    assert answer.headers[ARM_HEADER] == ",".join(arms)
    assert [bool(image["tags"]) for image in images] == [arm == "A" for arm in arms]
    alone = client.post("/tags", content=pictures[0])
    assert alone.json()["images"][0]["tags"] == images[0]["tags"]
    with pytest.raises(TagstackError, match="its arms stay as they were"):
        stack.reloaded()


def test_outcomes_come_in_and_the_first_stands(
    armed: tuple[TestClient, Experiment, ArmedStack], pictures: list[bytes]
) -> None:
    client, experiment, _ = armed
    unit = client.post("/tags", content=pictures[0]).json()["images"][0]["unit"]
    for value, new in ((1.0, True), (0.0, False)):
        told = client.post("/outcome", json={"unit": unit, "outcome": value})
        assert told.json() == {"unit": unit, "arm": experiment.arm_of(unit), "new": new}
    for bad in ({"unit": unit}, {"unit": unit, "outcome": 2}, {"unit": " ", "outcome": 1}):
        assert client.post("/outcome", json=bad).status_code == 422
    standing = client.get("/experiment").json()
    assert sum(standing["counts"]) == 1
    assert standing["verdict"] == "open"
    assert np.isclose(max(m for m in standing["means"] if m is not None), 1.0)
