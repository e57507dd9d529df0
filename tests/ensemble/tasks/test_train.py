"""`tagstack train`: from labelled pictures to a tagger that scores; what stands in its way."""

import hashlib
import json
import os
import shutil
import signal
import sys
import warnings
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from tagstack.base_models.atomic import TEMPORARY
from tagstack.base_models.contract import read_contract
from tagstack.base_models.taggers.tagger import load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.bundle.dataset import DatasetSource
from tagstack.ensemble.bundle.overlaps import overlaps_of
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.tasks.fit import fit_images
from tagstack.ensemble.tasks.scoring import score_folder
from tagstack.ensemble.tasks.train import train_tagger
from tagstack.ensemble.training.request import Trained, TrainRequest
from tagstack.meta.labels.training_range import trained_on

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def settings(**own: object) -> Settings:
    quick = {"size": 24, "epochs": 3, "batch_images": 8, "mixed": False, "shift": 1}
    return load_settings(
        changes={
            "threads": 1,
            "compare": {"resamples": 100},
            "audit": {"least_images": 2},
            "train": {**quick, **own},
        }
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty pictures of noise in one of three colours; the last two look like the first."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(3)
    lines = ["image,tags,part,half"]
    for i in range(30):
        name = list(COLOURS)[i % 3]
        noise = rng.integers(-30, 30, (20, 20, 3)) + np.array(COLOURS[name])
        block = rng.integers(0, 15, 2)
        noise[block[0] : block[0] + 5, block[1] : block[1] + 5] = 255
        picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
        if i >= 28:  # a copy, and one a little lighter
            name, picture = "red", Image.open(folder / "0.png")
            picture = picture.point(lambda value: min(value + 3, 255)) if i == 29 else picture
        picture.save(folder / f"{i}.png")
        lines.append(
            f"{i}.png,{name} {'rare' if i == 4 else ''},{'test' if i > 20 else 'fit'},{i % 2}"
        )
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    (folder / "broken.png").write_bytes(b"no picture")
    with (folder / "labels.csv").open("a") as stream:
        stream.write("broken.png,red,fit,0\n")
    return folder


def request(pictures: Path, out: Path) -> TrainRequest:
    return TrainRequest(images=(pictures,), labels=pictures / "labels.csv", start="resnet", out=out)


def test_without_torch_one_line_says_what_to_install(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(TagstackError, match=r"needs the package torch.*tagstack\[train\]"):
        train_tagger(request(pictures, tmp_path / "mine"), settings(), Silent())
    assert not (tmp_path / "mine").exists()


class Told(Silent):
    """Keeps notices, and interrupts after so many steps of training."""

    def __init__(self, steps: int = 10**9) -> None:
        self.notices: list[str] = []
        self.steps = steps

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        if text == "training":
            self.steps -= 1
            assert 0 < done <= total
            if self.steps == 0:
                raise KeyboardInterrupt


@pytest.fixture(scope="module")
def trained(
    pictures: Path, tmp_path_factory: pytest.TempPathFactory, quick_export: None
) -> tuple[Trained, Told]:
    told = Told()
    out = tmp_path_factory.mktemp("taggers") / "My Tagger"
    return train_tagger(request(pictures, out), settings(), told), told


def test_the_tagger_loads_with_features_and_thresholds(trained: tuple[Trained, Told]) -> None:
    found, told = trained
    tagger = load_tagger(found.out, floor=1e-4, threads=1, features=True)
    assert tagger.name == "my-tagger"
    assert tagger.vocabulary.tags == ("blue", "green", "red")
    assert tagger.n_features == 120
    assert found.difference < 1e-4
    assert ((0 <= tagger.published_thresholds) & (tagger.published_thresholds <= 1)).all()
    assert tagger.published_counts.sum() == found.n_training
    tagger.close()
    assert not (found.out / "training").exists()
    said = " ".join(told.notices)
    assert "broken.png cannot be read" in said
    assert "rare (1)" in said
    assert "3 pictures look like another one, such as 0.png and 28.png" in said


def test_the_contract_knows_the_images_learnt_from_and_no_other(
    pictures: Path, trained: tuple[Trained, Told]
) -> None:
    training = read_contract(trained[0].out / "tagger.toml").training
    contents = [hashlib.sha256((pictures / f"{i}.png").read_bytes()).hexdigest() for i in range(30)]
    seen = trained_on(training, contents)
    assert seen is not None
    assert seen.sum() == trained[0].n_training
    assert len({bool(seen[i]) for i in (0, 28, 29)}) == 1  # copies are on one side
    assert trained_on(training, ["0" * 64]) == [False]


class Dying(Silent):
    """Kills its own process, as a machine does that runs out of memory, after so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def stage(self, text: str, done: int = 0, total: int = 0) -> None:
        if text == "training":
            self.steps -= 1
            if self.steps == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def killed(asked: TrainRequest, own: Settings, steps: int) -> None:
    """Train in a process of its own that is killed after so many steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if not child:
        try:
            signal.alarm(120)  # never hang
            train_tagger(asked, own, Dying(steps))
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def test_a_stack_is_warned_of_pictures_that_its_tagger_learnt_from(
    pictures: Path, tmp_path: Path, trained: tuple[Trained, Told]
) -> None:
    chosen = settings()
    score_folder([pictures], [str(trained[0].out)], tmp_path / "scores", chosen, Silent())
    source = DatasetSource(scores=tmp_path / "scores", labels=pictures / "labels.csv")
    dataset = fit_images(source, Rules.none(), chosen, Silent())
    (overlap,) = overlaps_of(dataset, chosen.seed)
    n_learnt = trained[0].n_training
    assert (overlap.n_ids, overlap.n_inside) == (30, n_learnt)
    assert f"{n_learnt} of 30 images with known ids lie inside its training range" in overlap.notice


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_training_that_was_killed_goes_on_to_the_same_bytes(
    pictures: Path, tmp_path: Path, trained: tuple[Trained, Told]
) -> None:
    out = tmp_path / "My Tagger"
    ended = settings(checkpoint_seconds=0)
    for steps in (2, 3):  # in the midst of an epoch, and beyond one
        killed(request(pictures, out), ended, steps)
        assert (out / "training" / "checkpoint.safetensors").is_file()
        assert not (out / "tagger.toml").exists()
    found = train_tagger(request(pictures, out), ended, Silent())
    assert found.scores == trained[0].scores
    for name in ("weights.safetensors", "model.onnx", "selected_tags.csv", "tagger.toml"):
        assert (out / name).read_bytes() == (trained[0].out / name).read_bytes(), name


def test_a_training_clears_what_killed_ones_left(
    pictures: Path, tmp_path: Path, quick_export: None
) -> None:
    asked, work = request(pictures, tmp_path), tmp_path / "training"
    (work / "1").mkdir(parents=True)
    left = [folder / f"{TEMPORARY}0123.safetensors" for folder in (work, work / "1", tmp_path)]
    for path in left:
        path.touch()
    with pytest.raises(KeyboardInterrupt):
        train_tagger(asked, settings(), Told(1))  # before it has anything to write
    assert not (work / "checkpoint.safetensors").exists()
    assert [path for path in left if path.exists()] == []


def test_another_training_in_the_same_folder_is_refused(
    pictures: Path, tmp_path: Path, trained: tuple[Trained, Told]
) -> None:
    with pytest.raises(TagstackError, match="holds a tagger already"):
        train_tagger(request(pictures, trained[0].out), settings(), Silent())
    out = tmp_path / "mine"
    with pytest.raises(KeyboardInterrupt):
        train_tagger(request(pictures, out), settings(checkpoint_seconds=0), Told(2))
    with pytest.raises(TagstackError, match="of other pictures, labels or settings"):
        train_tagger(request(pictures, out), settings(learning_rate=1e-3), Silent())


def test_left_out_rows_judge_and_their_likes_are_not_learnt_from(
    pictures: Path, tmp_path: Path, trained: tuple[Trained, Told]
) -> None:
    """From the first tagger on: its weights and its rows of the head are taken over."""
    told = Told()
    again = replace(
        request(pictures, tmp_path / "mine"), left_out="part=test", start=str(trained[0].out)
    )
    with pytest.raises(KeyboardInterrupt):
        train_tagger(again, settings(), (told := Told(1)))
    said = " ".join(told.notices)
    assert "1 pictures are not learnt from" in said
    assert "0.png (28.png)" in said


def test_weights_in_a_pickle_are_refused_unopened(
    pictures: Path, tmp_path: Path, trained: tuple[Trained, Told]
) -> None:
    pickle = tmp_path / "model.pt"
    pickle.write_bytes(b"\x80\x04cos\nsystem\n")
    for given, message in (
        (str(pickle), "can run code"),
        (str(tmp_path), "Pickles .model.pt. are not loaded"),
        ("no-such/folder", "No such folder"),
    ):
        with pytest.raises(TagstackError, match=message):
            train_tagger(
                replace(request(pictures, tmp_path / "mine"), start=given), settings(), Silent()
            )


@pytest.fixture(scope="module")
def hidden(
    pictures: Path, tmp_path_factory: pytest.TempPathFactory, trained: tuple[Trained, Told]
) -> Trained:
    """Return a tagger trained on from the first one, against a column."""
    out = tmp_path_factory.mktemp("against") / "hidden"
    asked = replace(request(pictures, out), start=str(trained[0].out), against="half")
    return train_tagger(asked, settings(epochs=1, left_out=0.4), Silent())


def test_what_the_features_tell_of_a_column_is_judged_before_and_after(hidden: Trained) -> None:
    assert hidden.against is not None
    assert hidden.against.before is not None
    assert hidden.against.n_values == 2
    for bias in (hidden.against.before, hidden.against.after):
        assert bias.told is not None
        assert 0 <= bias.told <= 1
        assert bias.chance == 0.5
        assert {bias.worst, bias.best} == {"0", "1"}
        assert bias.worst_f1 is not None
        assert bias.best_f1 is not None
        assert 0 <= bias.worst_f1 <= bias.best_f1 <= 1
        assert bias.n_looks == 8
    record = json.loads((hidden.out / "training.json").read_text())
    assert record["against"]["after"]["told"] == hidden.against.after.told


def test_a_reversed_gradient_is_the_gradient_of_the_guess_turned_round() -> None:
    torch = pytest.importorskip("torch", reason="torch is only in the extra `train`")
    from tagstack.base_models.training.adversary import Adversary, Column, strength_at

    column = Column(values=np.array([0, 1, -1, 0, 0]), names=("a", "b"))
    weights = column.weights(np.arange(5))
    assert weights.tolist() == pytest.approx([2 / 3, 2])
    adversary, values = Adversary(3, weights), torch.from_numpy(column.values)
    features = torch.randn(5, 3, requires_grad=True)
    adversary.loss(features, values, strength=0.7).backward()
    plain = features.detach().clone().requires_grad_()
    guess = adversary.layers(plain[values >= 0])
    torch.nn.functional.cross_entropy(guess, values[values >= 0], adversary.weights).backward()
    assert features.grad.numpy() == pytest.approx(-0.7 * plain.grad.numpy(), abs=1e-6)
    assert features.grad[2].abs().sum() == 0  # its value is not known
    assert adversary.loss(features, torch.full((5,), -1), 1.0).item() == 0
    # Against the tags' loss it is as long as is said, however many tags there are.
    for n_tags in (1, 1000):
        of_tags = (features * torch.arange(3.0)).sum() / n_tags
        (pull,) = torch.autograd.grad(of_tags, features, retain_graph=True)
        (turned,) = torch.autograd.grad(
            adversary.loss(features, values, 0.5, of_tags=of_tags), features
        )
        assert turned.norm().item() == pytest.approx(0.5 * pull.norm().item(), rel=1e-5)
        cosine = torch.nn.functional.cosine_similarity(turned.ravel(), plain.grad.ravel(), dim=0)
        assert cosine.item() == pytest.approx(-1, abs=1e-5)
    assert (strength_at(0, 2), round(strength_at(1, 2), 2)) == (0, 2)


def test_a_column_that_cannot_be_trained_against_is_said(
    pictures: Path, tmp_path: Path, quick_export: None
) -> None:
    for column, message in (
        ("part", r"--against part: 1 values are on 5 pictures"),
        ("year", r"has no column 'year'"),
    ):
        asked = replace(request(pictures, tmp_path / "x"), against=column, left_out="part=test")
        with pytest.raises(TagstackError, match=message):
            train_tagger(asked, settings(), Silent())


def quick_search(pictures: Path, out: Path) -> tuple[TrainRequest, Settings]:
    asked = replace(request(pictures, out), start="resnet,convnext", search=3)
    return asked, settings(epochs=2, search_sizes=[16, 24])


@pytest.fixture(scope="module")
def searched(
    pictures: Path, tmp_path_factory: pytest.TempPathFactory, quick_export: None
) -> Trained:
    return train_tagger(*quick_search(pictures, tmp_path_factory.mktemp("s") / "found"), Silent())


def test_a_search_keeps_the_best_training(searched: Trained) -> None:
    assert [trial.number for trial in searched.trials] == [0, 1, 2]
    first, best = searched.trials[0], max(searched.trials, key=lambda trial: trial.score)
    assert (first.start, first.size, first.loss, first.learning_rate) == ("resnet", 24, "bce", 2e-3)
    assert searched.scores == best.scores
    assert (searched.architecture, searched.size) == (best.start, best.size)
    record = json.loads((searched.out / "training.json").read_text())
    assert [row["number"] for row in record["trials"]] == [0, 1, 2]
    assert record["settings"]["learning_rate"] == best.learning_rate
    assert not (searched.out / "training").exists()


def test_a_training_of_a_search_that_fails_costs_only_itself(
    pictures: Path, tmp_path: Path, quick_export: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tagstack.ensemble.training.run import Run

    n_made: list[int] = []

    class Failing(Run):
        def train(self, *given: Any) -> Any:
            n_made.append(1)
            if len(n_made) == 2:
                raise RuntimeError("CUDA out of memory\nand more")
            return super().train(*given)

    monkeypatch.setattr("tagstack.ensemble.training.search.Run", Failing)
    asked, own = quick_search(pictures, tmp_path / "found")
    told = Told()
    one_epoch = own.model_copy(update={"train": own.train.model_copy(update={"epochs": 1})})
    found = train_tagger(replace(asked, search=2), one_epoch, told)
    assert [trial.fault for trial in found.trials] == ["", "CUDA out of memory"]
    assert found.scores == found.trials[0].scores
    assert "this training failed: CUDA out of memory" in told.notices
    n_made[:] = [1]  # now the first fails, which is as the settings say
    with pytest.raises(RuntimeError, match="CUDA out of memory"):
        train_tagger(replace(asked, out=tmp_path / "first"), one_epoch, Silent())


def test_a_search_may_start_from_folders_with_commas(
    pictures: Path, tmp_path: Path, trained: tuple[Trained, Told], quick_export: None
) -> None:
    start = tmp_path / "red, green"
    shutil.copytree(trained[0].out, start)
    asked = replace(request(pictures, tmp_path / "found"), start=f"{start},vit", search=1)
    found = train_tagger(asked, settings(epochs=1), Silent())
    assert [trial.start for trial in found.trials] == [str(start)]
    assert found.architecture == "resnet"


def test_a_search_that_was_ended_goes_on_to_the_same_tagger(
    pictures: Path, tmp_path: Path, searched: Trained
) -> None:
    asked, own = quick_search(pictures, tmp_path / "found")
    steps = len(searched.trials[0].scores) * (searched.n_training // 8) + 2
    with pytest.raises(KeyboardInterrupt):
        train_tagger(asked, own, Told(steps))  # in the midst of the second training
    with pytest.raises(TagstackError, match="holds a search of other starts or settings"):
        train_tagger(replace(asked, start="resnet"), own, Silent())
    found = train_tagger(asked, own, Silent())
    assert [replace(trial, seconds=0) for trial in found.trials] == [
        replace(trial, seconds=0) for trial in searched.trials
    ]
    weights = [folder / "weights.safetensors" for folder in (found.out, searched.out)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.slow
def test_torchs_new_exporter_gives_the_same_outputs(
    trained: tuple[Trained, Told], tmp_path: Path
) -> None:
    import onnxruntime

    from tagstack.base_models.training.architectures import network_of
    from tagstack.base_models.training.onnx_export import OUTPUTS, Outputs, export_onnx
    from tagstack.base_models.training.starts import start_from

    start = start_from(str(trained[0].out))
    network = network_of(start, start.tags, 24, seed=1).eval()
    export_onnx(tmp_path / "model.onnx", Outputs(network), OUTPUTS, (2, 3, 24, 24))
    pixels = np.random.default_rng(0).normal(size=(3, 3, 24, 24)).astype(np.float32)
    one, other = (
        onnxruntime.InferenceSession(path).run(list(OUTPUTS), {"input": pixels})
        for path in (tmp_path / "model.onnx", trained[0].out / "model.onnx")
    )
    for ours, theirs in zip(one, other, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


def test_the_answer_is_as_published(
    trained: tuple[Trained, Told], hidden: Trained, searched: Trained
) -> None:
    text = resources.files("tagstack.configs").joinpath("schemas/answers-1.json").read_text("utf-8")
    published = json.loads(text)
    schema = {"$defs": published["$defs"], **published["properties"]["train"]}
    for found in (trained[0], hidden, searched):
        answer = json.loads(json.dumps(found.plain()))
        jsonschema.validate(answer, schema)
        assert set(answer) == set(schema["properties"])


def test_the_record_says_how_it_was_made(trained: tuple[Trained, Told]) -> None:
    record = json.loads((trained[0].out / "training.json").read_text())
    assert record["seed"] == 0
    assert record["architecture"] == "resnet"
    assert len(record["macro_ap"]) == trained[0].n_epochs
    assert record["macro_ap"][record["best_epoch"] - 1] == trained[0].macro_ap
