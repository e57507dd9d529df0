"""The registry: names, folders, and what is said when something is missing."""

import contextlib
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.contract import contract_from_toml, text_with_features, with_features
from tagstack.base_models.taggers import check
from tagstack.base_models.taggers.check import CheckReport, check_tagger
from tagstack.base_models.taggers.own_folder import registry_folder
from tagstack.base_models.taggers.registry import (
    add_tagger,
    list_taggers,
    load_taggers,
    resolve,
    show_tagger,
)
from tagstack.base_models.taggers.trial import trial_of
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings

Folder = Callable[..., Path]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_registry_folder_follows_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert registry_folder() == home / "taggers"
    monkeypatch.delenv("TAGSTACK_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert registry_folder() == Path("/data/tagstack/taggers")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert registry_folder() == Path("/home/someone/.local/share/tagstack/taggers")


def test_known_contracts_without_weights_say_what_to_get() -> None:
    entry = show_tagger("wd-vit-tagger-v3")
    assert (entry.origin, entry.folder) == ("contract", None)
    assert entry.missing_files == ("model.onnx", "selected_tags.csv")
    with pytest.raises(
        TagstackError, match=r"huggingface\.co/.* models add FOLDER --contract wd-vit"
    ):
        resolve("wd-vit-tagger-v3")


@pytest.mark.parametrize("copy", [False, True])
def test_added_taggers_resolve_by_name(
    make_tagger_folder: Folder, settings: ScoreSettings, home: Path, copy: bool
) -> None:
    folder = make_tagger_folder(name="mine")
    assert add_tagger(folder, settings, copy=copy).passed
    assert resolve("mine") == home / "taggers" / "mine"
    assert (resolve("mine") / "model.onnx").is_symlink() != copy
    entry = next(entry for entry in list_taggers() if entry.name == "mine")
    assert (entry.origin, entry.missing_files) == ("user", ())
    (tagger,) = load_taggers(["mine"], settings, threads=1)
    (direct,) = load_taggers([str(folder)], settings, threads=1)
    assert (tagger.fingerprint, tagger.source) == (direct.fingerprint, "mine")
    with pytest.raises(TagstackError, match="exists"):
        add_tagger(folder, settings)


def test_a_tagger_that_fails_its_check_is_not_added(
    make_tagger_folder: Folder, settings: ScoreSettings, home: Path
) -> None:
    report = add_tagger(make_tagger_folder(name="bad", n_outputs=3), settings)
    assert not report.passed
    assert "gives 3 scores" in report.findings[-1].detail
    assert list((home / "taggers").iterdir()) == []


def test_a_published_contract_can_describe_a_folder(
    make_tagger_folder: Folder, settings: ScoreSettings
) -> None:
    folder = make_tagger_folder()
    (folder / "tagger.toml").unlink()
    with pytest.raises(TagstackError, match=r"no tagger\.toml.*--contract NAME"):
        add_tagger(folder, settings)
    with pytest.raises(TagstackError, match=r"Unknown contract 'wd'\. Known contracts: \['"):
        add_tagger(folder, settings, contract="wd")
    report = add_tagger(folder, settings, contract="wd-vit-tagger-v3")
    assert "the contract says ['batch', 448, 448, 3]" in report.findings[-1].detail


def test_unknown_names_list_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        TagstackError, match=r"Unknown tagger 'wd-vitt'\. Did you mean wd-vit-tag.*models list"
    ):
        resolve("wd-vitt")
    with pytest.raises(TagstackError, match="There is no folder"):
        resolve(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(TagstackError, match=r"no tagger\.toml"):
        resolve(str(tmp_path / "empty"))


def test_a_damaged_contract_costs_its_own_tagger_alone(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("doll_vit", "mine"):
        (home / "taggers" / name).mkdir(parents=True)
        (home / "taggers" / name / "tagger.toml").write_text("name = ")
    assert show_tagger("doll_resnet").origin == "package"
    assert not caplog.text  # other taggers are not looked at
    assert show_tagger("doll_vit").origin == "package"
    assert "Tagger doll_vit is left out. Cannot read" in caplog.text
    with pytest.raises(TagstackError, match=r"Cannot read .*mine.tagger\.toml"):
        show_tagger("mine")
    with pytest.raises(TagstackError, match="Unknown tagger"):
        show_tagger("../taggers/mine")
    assert {"doll_vit", "mine"} & {entry.name for entry in list_taggers()} == {"doll_vit"}


def test_members_need_distinct_names(make_tagger_folder: Folder, settings: ScoreSettings) -> None:
    folder = make_tagger_folder()
    with pytest.raises(TagstackError, match="both named 'tiny'"):
        load_taggers([str(folder), str(folder)], settings, threads=1)
    with pytest.raises(TagstackError, match="No tagger given"):
        load_taggers([], settings, threads=1)


def test_check_reports_everything_that_it_saw(make_tagger_folder: Folder) -> None:
    report = check_tagger(make_tagger_folder(), floor=1e-4, threads=1)
    assert report.passed
    found = {finding.check: finding.detail for finding in report.findings}
    assert list(found) == [
        "contract", "assumed", "shapes", "tags", "model", "fingerprint", "outputs", "batch",
        "features",
    ]  # fmt: skip
    assert "files.model = model.onnx" in found["assumed"]
    assert "input.pad = (255, 255, 255)" in found["assumed"]
    assert "input.size" not in found["assumed"]  # it is said
    assert "threshold 0.4 where" in found["assumed"]
    assert "trained on: not known" in found["assumed"]
    assert found["shapes"] == "input (batch, 8, 8, 3), output (batch, 10)"
    assert "8 x 8 BGR NHWC" in found["contract"]
    assert found["tags"] == "10 rows for as many outputs: 2 character, 8 general"
    assert "CPUExecutionProvider, fp32, batch dynamic" in found["model"]


@pytest.mark.parametrize(
    ("changes", "stage", "message"),
    [
        ({"n_outputs": 4}, "files", "gives 4 scores"),
        ({"nan_above": -1.0}, "outputs", "not finite"),
        ({"sigmoids": 2}, "outputs", "two sigmoids"),
        ({"declared": {"layout": "NCHW"}}, "files", "the contract says"),
        ({"declared": {"geometry": "crop"}}, "contract", "input.geometry"),
    ],
)
def test_check_names_the_failure(
    make_tagger_folder: Folder, changes: dict[str, object], stage: str, message: str
) -> None:
    report = check_tagger(make_tagger_folder(**changes), floor=1e-4, threads=1)
    assert not report.passed
    assert report.findings[-1].check == stage
    assert message in report.findings[-1].detail


def test_a_folder_is_remembered_from_wherever_it_was_named(
    make_tagger_folder: Folder, settings: ScoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_tagger_folder()
    monkeypatch.chdir(folder.parent)
    (tagger,) = load_taggers([folder.name], settings, threads=1)
    tagger.close()
    assert tagger.source == str(folder)


def test_a_kill_at_any_change_of_the_disk_leaves_nothing_behind(
    make_tagger_folder: Folder,
    settings: ScoreSettings,
    home: Path,
    dying_disk: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def noted(folder: Path, **_: object) -> CheckReport:
        trial_of(folder).remember()  # the whole check changes nothing else on the disk
        return CheckReport(folder=folder, contract=None, findings=())

    monkeypatch.setattr(check, "check_tagger", noted)
    folder, added = make_tagger_folder(name="mine"), home / "taggers/mine"

    def add() -> None:
        with contextlib.suppress(TagstackError):  # it had been added already
            add_tagger(folder, settings, copy=True)

    changes = 0
    while dying_disk.run(add, changes):
        assert not dying_disk.run(add, 10**9)
        assert list(home.rglob(".*")) == []
        assert [file_sha256(p) for p in sorted(added.iterdir())] == [
            file_sha256(p) for p in sorted(folder.iterdir())
        ]
        shutil.rmtree(home)
        changes += 1
    assert changes > 12


def test_added_taggers_remember_where_their_features_are(
    make_tagger_folder: Folder, settings: ScoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_tagger_folder(kind="logits")
    text = (folder / "tagger.toml").read_text()
    (folder / "tagger.toml").write_text(text.replace("[output]\n", "[output]  # a comment\n"))
    report = add_tagger(folder, settings)
    assert (report.passed, report.features) == (True, "flat")
    kept = (resolve("tiny") / "tagger.toml").read_text()
    assert '[output]  # a comment\nfeatures = "flat"\n' in kept
    assert "features" not in (folder / "tagger.toml").read_text()  # the user's own stays

    chosen = settings.model_copy(update={"features": ("all",)})
    load_taggers(["tiny"], chosen, threads=1)  # holds them to the scores once

    def look(*_: object) -> None:
        raise AssertionError("looked again")

    monkeypatch.setattr("tagstack.base_models.taggers.last_product._graph", look)
    (tagger,) = load_taggers(["tiny"], chosen, threads=1)
    assert tagger.n_features == 8 * 8 * 3


@pytest.mark.parametrize("head", ["output.kind", "[output]\nkind", "output = {kind"])
def test_features_are_written_however_the_section_is(head: str) -> None:
    text = (
        'name = "x"\nsource = "here"\nlicence = "none"\ntags.format = "tags_txt"\n'
        'input = {layout = "NHWC", colour = "BGR", size = 8, geometry = "squash", '
        'resample = "area", range = "0-1", batch = 1}\n'
        f'{head} = "logits"{"}" if "{" in head else ""}\n'
    )
    wanted = with_features(contract_from_toml(tomllib.loads(text), origin="x"), 'a"\\b')
    kept = text_with_features(text, 'a"\\b', origin="x")
    assert contract_from_toml(tomllib.loads(kept), origin="x") == wanted
