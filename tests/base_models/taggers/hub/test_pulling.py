"""Pulling from the hub, against a server that speaks the few endpoints that are used."""

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import pytest
from pydantic import ValidationError

from tagstack.base_models.contract import Hub as HubSection
from tagstack.base_models.locks import ProcessLock
from tagstack.base_models.taggers import hub, pulling
from tagstack.base_models.taggers.check import CheckReport, check_tagger
from tagstack.base_models.taggers.hub import web_size
from tagstack.base_models.taggers.own_folder import registry_folder
from tagstack.base_models.taggers.pull_record import check_pulled, read_record, record_path
from tagstack.base_models.taggers.pulling import plan_pull, pull, pulled_before
from tagstack.base_models.taggers.registry import (
    add_tagger,
    list_taggers,
    load_taggers,
    resolve,
)
from tagstack.base_models.taggers.trial import trial_of
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings

Folder = Callable[..., Path]
COMMITS = ("a" * 40, "b" * 40)
REPO = "someone/tiny-tagger"
Hub = Any  # the server of conftest.py


def _quiet(*_: object) -> None:
    pass


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_pulled_tagger_is_entered_recorded_and_usable(
    server: Hub, settings: ScoreSettings
) -> None:
    seen: list[tuple[str, int, int]] = []
    assert pulled_before("tiny") is None
    plan = plan_pull("tiny")
    assert server.ranges == []  # planning downloads nothing
    assert [file.name for file in plan.state.files] == ["model.onnx", "selected_tags.csv"]
    assert plan.state.commit == COMMITS[0]
    assert plan.notes == ("licence: none", "licence on its card: apache-2.0", "made for a test")
    files = server.versions[COMMITS[0]]
    assert plan.size_bytes == len(files["model.onnx"]) + len(files["selected_tags.csv"])
    report = pull(plan, settings, lambda *state: seen.append(state))
    assert report.passed, report.findings
    assert sorted(path.name for path in registry_folder().iterdir()) == ["tiny"]
    assert (resolve("tiny") / "model.onnx").read_bytes() == files["model.onnx"]
    record = read_record(record_path(registry_folder(), "tiny"))
    assert record is not None
    assert (record.repo, record.commit) == (REPO, COMMITS[0])
    assert record.files == {n: _sum(files[n]) for n in ("model.onnx", "selected_tags.csv")}
    model = [here for name, here, _ in seen if name == "model.onnx"]
    assert model == sorted(model)
    assert model[0] == 0
    assert model[-1] == len(files["model.onnx"])
    (tagger,) = load_taggers(["tiny"], settings, threads=1)
    tagger.close()
    assert "tiny" in {entry.name for entry in list_taggers()}
    details = {finding.check: finding.detail for finding in check_tagger(resolve("tiny"),
               floor=1e-4, threads=1).findings}  # fmt: skip
    assert details["download"] == (
        f"model.onnx, selected_tags.csv as first pulled from {REPO} at {'a' * 12}"
    )
    assert pulled_before("tiny") == record


@pytest.mark.parametrize("cut", [0, 1, 1500])
def test_a_broken_connection_is_continued_at_once(
    server: Hub, settings: ScoreSettings, cut: int
) -> None:
    server.cut_at = cut
    assert pull(plan_pull("tiny"), settings, _quiet).passed
    asked = [where for name, where in server.ranges if name == "model.onnx"]
    assert asked[0] is None
    assert len(asked) == 2
    if cut > 700:
        assert asked[1] == "bytes=1400-"  # two whole chunks had arrived


def test_a_server_that_knows_no_ranges_is_read_from_the_start(
    server: Hub, settings: ScoreSettings
) -> None:
    server.cut_at, server.knows_ranges = 1500, False
    assert pull(plan_pull("tiny"), settings, _quiet).passed
    assert [where for name, where in server.ranges if name == "model.onnx"] == [None, "bytes=1400-"]
    files = server.versions[COMMITS[0]]
    assert (resolve("tiny") / "model.onnx").read_bytes() == files["model.onnx"]


def test_a_connection_that_brings_nothing_is_given_up(server: Hub, settings: ScoreSettings) -> None:
    server.cut_at, server.always_cut = 0, True
    with pytest.raises(TagstackError, match=r"Cannot fetch from .*the same command goes on"):
        pull(plan_pull("tiny"), settings, _quiet)
    assert len(server.ranges) == 5


@pytest.mark.parametrize(("change", "found"), [(40, "more"), (-40, "fewer")])
def test_a_file_of_another_size_is_not_taken(
    server: Hub, settings: ScoreSettings, change: int, found: str
) -> None:
    good = server.versions[COMMITS[0]]["model.onnx"]
    server.lies["model.onnx"] = (good + bytes(40))[: len(good) + change]
    with pytest.raises(TagstackError, match=rf"came with {found} than its {len(good)} bytes"):
        pull(plan_pull("tiny"), settings, _quiet)
    server.lies.clear()
    assert pull(plan_pull("tiny"), settings, _quiet).passed


def test_an_interrupted_pull_goes_on_at_the_same_commit(
    server: Hub, settings: ScoreSettings
) -> None:
    def interrupt(name: str, here: int, size: int) -> None:
        if here > 1400:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(plan_pull("tiny"), settings, interrupt)
    assert show_nothing_but_staging() == [f".pull-tiny-{'a' * 12}"]
    server.newest = COMMITS[1]  # the publisher goes on meanwhile
    server.ranges.clear()
    assert pull(plan_pull("tiny"), settings, _quiet).passed
    assert server.ranges[0] == ("model.onnx", "bytes=2100-")
    files = server.versions[COMMITS[0]]
    assert (resolve("tiny") / "model.onnx").read_bytes() == files["model.onnx"]
    assert list(resolve("tiny").glob("*.unfinished")) == []


def show_nothing_but_staging() -> list[str]:
    return sorted(path.name for path in registry_folder().iterdir())


def test_a_damaged_download_is_refused_and_the_next_one_starts_afresh(
    server: Hub, settings: ScoreSettings
) -> None:
    good = server.versions[COMMITS[0]]["model.onnx"]
    server.lies["model.onnx"] = bytes(len(good))
    wrong = rf"has SHA-256 {_sum(bytes(len(good)))}, but the hub says {_sum(good)}.*Pull again"
    with pytest.raises(TagstackError, match=wrong):
        pull(plan_pull("tiny"), settings, _quiet)
    server.lies.clear()
    assert pull(plan_pull("tiny"), settings, _quiet).passed


def test_other_bytes_than_the_first_pull_recorded_are_refused(
    server: Hub, settings: ScoreSettings
) -> None:
    assert pull(plan_pull("tiny"), settings, _quiet).passed
    folder = resolve("tiny")
    tags = folder / "selected_tags.csv"
    tags.write_bytes(tags.read_bytes().replace(b"tag_0", b"tag_X"))
    for use in (
        lambda: load_taggers(["tiny"], settings, threads=1),
        lambda: pulled_before("tiny"),
    ):
        with pytest.raises(TagstackError, match=r"selected_tags\.csv .* was recorded when it was"):
            use()
    report = check_tagger(folder, floor=1e-4, threads=1)
    assert [finding.check for finding in report.findings if not finding.passed] == ["download"]
    # Small files carry no SHA-256 of the hub's: the record alone notices a rewritten commit.
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    server.lies["selected_tags.csv"] = tags_like(server, b"tag_1", b"tag_Y")
    with pytest.raises(TagstackError, match=r"selected_tags\.csv .* was recorded when it was"):
        pull(plan_pull("tiny"), settings, _quiet)


def tags_like(server: Hub, old: bytes, new: bytes) -> bytes:
    tags: bytes = server.versions[COMMITS[0]]["selected_tags.csv"]
    return tags.replace(old, new)


def test_pulling_again_after_deletion_gives_the_first_commit(
    server: Hub, settings: ScoreSettings
) -> None:
    assert pull(plan_pull("tiny"), settings, _quiet).passed
    folder = resolve("tiny")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    server.newest = COMMITS[1]
    assert plan_pull("tiny").state.commit == COMMITS[0]
    record_path(registry_folder(), "tiny").unlink()
    assert plan_pull("tiny").state.commit == COMMITS[1]


def test_weights_beside_the_model_come_along(server: Hub, settings: ScoreSettings) -> None:
    server.versions[COMMITS[0]]["model.onnx_data"] = b"weights"
    server.versions[COMMITS[0]]["model2.onnx"] = b"another network"
    names = [file.name for file in plan_pull("tiny").state.files]
    assert names == ["model.onnx", "selected_tags.csv", "model.onnx_data"]


def test_a_gated_repository_says_so_before_and_what_to_do(
    server: Hub, settings: ScoreSettings
) -> None:
    server.gated = server.locked = True
    plan = plan_pull("tiny")
    assert any(note.startswith("gated: its publisher asks") for note in plan.notes)
    with pytest.raises(TagstackError, match=r"is gated: accept its terms at .*HF_TOKEN"):
        pull(plan, settings, _quiet)


def test_what_cannot_be_had_is_one_line(
    server: Hub, settings: ScoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        TagstackError,
        match=r"'deepdanbooru-v3' cannot be pulled: .* by hand from https://.*models add",
    ):
        plan_pull("deepdanbooru-v3")
    with pytest.raises(TagstackError, match="ships with tagstack"):
        pulled_before("doll_vit")
    with pytest.raises(TagstackError, match="no repository 'SmilingWolf/wd-vit-tagger-v3' that"):
        plan_pull("wd-vit-tagger-v3")
    with pytest.raises(TagstackError, match="has no such revision any more"):
        hub.hub_state(HubSection(repo=REPO), ("model.onnx",), (), "c" * 40)
    with pytest.raises(TagstackError, match=r"has no file 'x/model\.onnx'; its files are \['READ"):
        hub.hub_state(HubSection(repo=REPO, folder="x"), ("model.onnx",), (), None)
    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(TagstackError, match="HF_HUB_OFFLINE is set"):
            plan_pull("tiny")
    with monkeypatch.context() as patch:
        patch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(TagstackError, match=r"Cannot fetch from .*goes on from there"):
            plan_pull("tiny")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(TagstackError, match=r"pip install 'tagstack\[hub\]'"):
            plan_pull("tiny")
    with monkeypatch.context() as patch:
        patch.setattr(pulling, "_KEEP_FREE", 1 << 62)
        with pytest.raises(TagstackError, match=r"needs \d+ MiB below .* are free"):
            pull(plan_pull("tiny"), settings, _quiet)


def test_a_tagger_added_by_hand_is_not_replaced(
    server: Hub, settings: ScoreSettings, tmp_path: Path
) -> None:
    assert add_tagger(tmp_path / "taggers" / "tiny", settings).passed
    with pytest.raises(TagstackError, match="was added by hand"):
        pulled_before("tiny")


def test_a_damaged_record_is_one_line(server: Hub) -> None:
    path = record_path(registry_folder(), "tiny")
    path.parent.mkdir(parents=True)
    for text in ("{", '{"repo": 1}', "[]", '{"repo": "a/b", "commit": "c", "files": []}'):
        path.write_text(text)
        with pytest.raises(TagstackError, match=r"Delete it and pull"):
            plan_pull("tiny")
    path.write_text('{"format": 7, "repo": "a/b", "commit": "c", "files": {}}')
    with pytest.raises(TagstackError, match="has format 7, expected 1"):
        plan_pull("tiny")


def test_every_contract_on_the_hub_names_a_repository_of_its_source() -> None:
    """Or one of somebody else's export, which takes a file from the source itself."""
    contracts = [entry.contract for entry in list_taggers() if entry.origin == "contract"]
    on_hub = [contract for contract in contracts if contract.hub is not None]
    assert len(on_hub) > 10
    for contract in on_hub:
        assert contract.hub is not None
        if any(url.startswith(f"{contract.source}/") for url in contract.hub.elsewhere.values()):
            assert contract.hub.note
            continue
        repository = f"https://huggingface.co/{contract.hub.repo}"
        rest = contract.source.removeprefix(repository)
        assert rest != contract.source
        assert not rest or rest.endswith(f"/{contract.hub.folder}"), contract.source


@pytest.fixture
def tags_elsewhere(server: Hub, monkeypatch: pytest.MonkeyPatch) -> str:
    """Move the tag file from the repository to an address of its own; return that."""
    url = f"{server.url}/web/tags.csv"
    server.web["tags.csv"] = server.versions[COMMITS[0]].pop("selected_tags.csv")
    # The server's stand-in, which knows the contract "tiny".
    inner: Callable[..., Any] = vars(pulling)["contract_and_text"]

    def moved(folder: Path, name: str | None) -> tuple[Any, str]:
        contract, text = inner(folder, name)
        # A contract only takes https, which a server in a test does not speak.
        section = contract.hub.model_copy(update={"elsewhere": {"selected_tags.csv": url}})
        return contract.model_copy(update={"hub": section}), text

    monkeypatch.setattr(pulling, "contract_and_text", moved)
    return url


def test_a_file_from_elsewhere_comes_along_without_the_token(
    server: Hub, settings: ScoreSettings, tags_elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    plan = plan_pull("tiny")
    tags = server.web["tags.csv"]
    assert {file.name: file.size_bytes for file in plan.state.files}["selected_tags.csv"] == len(
        tags
    )
    assert f"selected_tags.csv comes from {tags_elsewhere}" in plan.notes
    assert server.ranges == []
    assert pull(plan, settings, _quiet).passed
    assert (resolve("tiny") / "selected_tags.csv").read_bytes() == tags
    record = read_record(record_path(registry_folder(), "tiny"))
    assert record is not None
    assert record.files["selected_tags.csv"] == _sum(tags)
    assert server.tokens == [None, None]  # asked for its size, then for itself


def test_a_file_from_elsewhere_is_continued_and_held_to_the_first_pull(
    server: Hub, settings: ScoreSettings, tags_elsewhere: str
) -> None:
    server.web["tags.csv"] += b"9,long_tag,0," + b"9" * 4000 + b"\n"

    def interrupt(name: str, here: int, size: int) -> None:
        if name == "selected_tags.csv" and here > 1400:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(plan_pull("tiny"), settings, interrupt)
    server.ranges.clear()
    assert not pull(plan_pull("tiny"), settings, _quiet).passed  # one tag more than outputs
    assert server.ranges == [("tags.csv", "bytes=2100-")]
    for path in (registry_folder()).glob(".pull-*/selected_tags.csv"):
        assert path.read_bytes() == server.web["tags.csv"]
        path.unlink()
    server.web["tags.csv"] = server.web["tags.csv"].partition(b"9,long_tag")[0]
    assert pull(plan_pull("tiny"), settings, _quiet).passed
    for path in resolve("tiny").iterdir():
        path.unlink()
    (registry_folder() / "tiny").rmdir()
    server.web["tags.csv"] = server.web["tags.csv"].replace(b"tag_1", b"tag_Y")
    with pytest.raises(TagstackError, match=r"selected_tags\.csv .* was recorded when it was"):
        pull(plan_pull("tiny"), settings, _quiet)


def test_an_address_that_cannot_be_used(server: Hub, tags_elsewhere: str) -> None:
    server.tells_size = False
    with pytest.raises(TagstackError, match=r"tags\.csv does not say how large it is"):
        plan_pull("tiny")
    server.tells_size = True
    del server.web["tags.csv"]
    with pytest.raises(TagstackError, match=r"Cannot fetch from .*tags\.csv: .*404"):
        plan_pull("tiny")
    for url in ("http://example.org/x", "file:///etc/passwd", "https://a b"):
        with pytest.raises(ValidationError, match="elsewhere"):
            HubSection(repo=REPO, elsewhere={"x": url})


def test_an_address_that_leads_away_from_https(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import utils

    class Session:
        def head(self, url: str, **_: object) -> Any:
            answer = SimpleNamespace(headers={"content-length": "1"}, raise_for_status=lambda: None)
            answer.url = SimpleNamespace(scheme="http")
            return answer

    monkeypatch.setattr(utils, "get_session", Session)
    with pytest.raises(TagstackError, match=r"which is not https\. Correct \[hub\] elsewhere"):
        web_size("https://example.org/tags.json")


def test_a_kill_at_any_change_of_the_disk_loses_and_leaves_nothing(
    server: Hub, settings: ScoreSettings, dying_disk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noted(folder: Path, **_: object) -> CheckReport:
        trial_of(folder).remember()  # the whole check changes nothing else on the disk
        return CheckReport(folder=folder, contract=None, findings=())

    monkeypatch.setattr(pulling, "check_tagger", noted)
    target = registry_folder() / "tiny"
    files = server.versions[COMMITS[0]]

    def pull_unless_here() -> None:
        if not check_pulled(target):
            pull(plan_pull("tiny"), settings, _quiet)

    changes = 0
    while dying_disk.run(pull_unless_here, changes):
        check_pulled(target)  # whole, if it is there
        assert not dying_disk.run(pull_unless_here, 10**9)
        assert list(registry_folder().parent.rglob(".*")) == []
        assert (target / "model.onnx").read_bytes() == files["model.onnx"]
        assert check_pulled(target)
        shutil.rmtree(registry_folder().parent)
        changes += 1
    assert changes > 12


def test_a_pull_on_its_way_is_no_tagger_and_has_no_second(
    server: Hub, settings: ScoreSettings
) -> None:
    plan = plan_pull("tiny")
    plan.staging.mkdir(parents=True)
    for name in ("tagger.toml", "half.part"):
        (plan.staging / name).write_text(plan.text)
    assert [entry.name for entry in list_taggers() if entry.name.startswith(".")] == []
    plan.record.path.parent.mkdir(parents=True)
    lock = ProcessLock(plan.record.path.with_suffix(".lock"))
    assert lock.take()
    with pytest.raises(TagstackError, match=r"Process \d+ is pulling 'tiny'\. Wait"):
        pull(plan, settings, _quiet)
    lock.release()


def test_what_gathered_under_another_commit_goes_when_a_pull_is_done(
    server: Hub, settings: ScoreSettings
) -> None:
    old, others = (registry_folder() / f".pull-{name}-{'c' * 12}" for name in ("tiny", "tiny-too"))
    for folder in (old, others):
        folder.mkdir(parents=True)
        (folder / "model.onnx.part").touch()
    assert pull(plan_pull("tiny"), settings, _quiet).passed
    assert (old.exists(), others.exists()) == (False, True)
