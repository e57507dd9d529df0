"""The stack in use: same picture same tags in any company, and a new bundle without a pause."""

import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import tagstack
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.files import load_bundle, save_bundle
from tagstack.ensemble.serving.guard import Access
from tagstack.ensemble.thresholds.versions import ThresholdVersions

TOKEN = "a-token-of-some-length"
BEARER = {"authorization": f"Bearer {TOKEN}"}
Start = Callable[..., TestClient]


def raised(bundle: Path) -> str:
    """Put thresholds in use that nothing reaches, and return their version."""
    thresholds = load_bundle(bundle).thresholds
    none = np.full_like(thresholds.value, np.inf)
    return ThresholdVersions(bundle).add(replace(thresholds, value=none), {"by": "a test"})


def picture(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    (only,) = answer.json()["images"]
    return only


def test_many_at_once_get_what_each_gets_alone(
    served: Start, settings_with: Callable[..., Settings], pictures: list[bytes]
) -> None:
    """Whatever company a request has, not a bit differs, and nothing is lost."""
    client = served(settings_with(serve={"window_ms": 10, "batch": 5}))
    alone = [picture(client.post("/tags", content=data)) for data in pictures]
    order = [n % len(pictures) for n in range(40)]
    with ThreadPoolExecutor(20) as clients:
        together = list(
            clients.map(lambda n: picture(client.post("/tags", content=pictures[n])), order)
        )
    assert together == [alone[n] for n in order]
    batches = re.search(
        r"^tagstack_batches_total (\d+)$", client.get("/metrics").text, re.MULTILINE
    )
    assert batches is not None
    assert int(batches[1]) < len(alone) + len(order)  # some had company


def test_a_new_version_of_the_thresholds_comes_into_use_by_itself(
    served: Start, settings_with: Callable[..., Settings], own_bundle: Path, pictures: list[bytes]
) -> None:
    client = served(settings_with(serve={"reload_seconds": 0.02}), bundle=own_bundle)
    before = picture(client.post("/tags", content=pictures[0]))
    assert before["tags"]
    version = raised(own_bundle)
    ends = time.monotonic() + 20
    while client.get("/bundle").json()["thresholds"] != version:
        assert time.monotonic() < ends, "it was never taken over"
        time.sleep(0.02)
    after = client.post("/tags", content=pictures[0])
    assert after.json()["thresholds"] == version
    assert picture(after)["tags"] == []
    # What the taggers and the stack say is the same: only the thresholds are others.
    probas = [{c["tag"]: c["proba"] for c in p["candidates"]} for p in (before, picture(after))]
    assert probas[1].items() <= probas[0].items()


def test_reloading_needs_the_token_and_drops_no_request(
    served: Start, settings_with: Callable[..., Settings], own_bundle: Path, pictures: list[bytes]
) -> None:
    settings = settings_with(serve={"reload_seconds": 0})
    client = served(settings, bundle=own_bundle, access=Access(token=TOKEN))
    assert client.post("/reload").status_code == 401
    unchanged = client.post("/reload", headers=BEARER).json()
    assert (unchanged["thresholds"], unchanged["changed"]) == ("fit", False)

    def ask(_: int) -> tuple[str, bool]:
        answer = client.post("/tags", content=pictures[0], headers=BEARER)
        return answer.json()["thresholds"], bool(picture(answer)["tags"])

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(ask, n) for n in range(30)]
        version = raised(own_bundle)
        assert client.post("/reload", headers=BEARER).json()["changed"]
        found = {one.result() for one in asking}
    assert found <= {("fit", True), (version, False)}  # never a mixture of both
    assert ask(0) == (version, False)


def test_without_a_token_nobody_reloads(client: TestClient) -> None:
    for headers in ({}, {"authorization": "Bearer "}, {"authorization": "Bearer x"}):
        assert client.post("/reload", headers=headers).status_code == 403


def test_another_fit_in_the_folder_takes_over_with_its_taggers(
    served: Start, settings_with: Callable[..., Settings], own_bundle: Path, made: Path,
    pictures: list[bytes],
) -> None:  # fmt: skip
    settings = settings_with(serve={"reload_seconds": 0})
    client = served(settings, bundle=own_bundle, access=Access(token=TOKEN))
    before = client.get("/bundle", headers=BEARER).json()
    quick = {
        "stack": {
            "learners": [], "outer_fold": False, "folds": 2, "calibration_strengths": [100.0],
            "logistic_strengths": [300.0], "selection_rounds": 5, "tuning": {"trials": 0},
        },
    }  # fmt: skip
    labels = tagstack.Labels(
        {p.name: [("sky", "tree")[n % 2]] for n, p in enumerate((made / "images").glob("*.png"))}
    )
    scores = tagstack.score(made / "images", ["doll_convnext"])
    bundle = tagstack.fit(scores, labels, settings=quick).bundle
    save_bundle(bundle, own_bundle, overwrite=True)
    now = client.post("/reload", headers=BEARER)
    assert now.status_code == 200, now.text
    after = client.get("/bundle", headers=BEARER).json()
    assert set(after["taggers"]) == {"doll_convnext"} != set(before["taggers"])
    tagged = picture(client.post("/tags", content=pictures[0], headers=BEARER))
    assert {v for c in tagged["candidates"] for v in c["votes"]} == {"doll_convnext"}


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_bundle_that_cannot_be_used_leaves_the_old_one_in_use(
    served: Start, settings_with: Callable[..., Settings], own_bundle: Path,
    pictures: list[bytes], damage: str,
) -> None:  # fmt: skip
    settings = settings_with(serve={"reload_seconds": 0})
    client = served(settings, bundle=own_bundle, access=Access(token=TOKEN))
    before = picture(client.post("/tags", content=pictures[0], headers=BEARER))
    if damage == "gone":
        os.rename(own_bundle, own_bundle.with_name("elsewhere"))
    else:
        with (own_bundle / "rules.toml").open("a") as stream:
            stream.write("# more\n")
    answer = client.post("/reload", headers=BEARER)
    assert answer.status_code == 422
    assert "\n" not in answer.json()["error"]
    assert picture(client.post("/tags", content=pictures[0], headers=BEARER)) == before
    metrics = client.get("/metrics", headers=BEARER).text
    assert 'tagstack_reloads_total{outcome="failed"} 1' in metrics
