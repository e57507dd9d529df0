"""Does a tagger's folder keep its contract? Every finding with what was looked at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tagstack.base_models.contract import CONTRACT_FILE, Contract, Input
from tagstack.base_models.runtimes.selection import REFERENCE, RuntimeChoice
from tagstack.base_models.taggers.last_product import check_features
from tagstack.base_models.taggers.pull_record import check_pulled
from tagstack.base_models.taggers.tagger import (
    Tagger,
    load_tagger,
    smoke_pixels,
    smoke_test,
    unpadded,
)
from tagstack.base_models.taggers.timm_contract import (
    PREPROCESS_FILE,
    contract_of_folder,
    timm_contract,
)
from tagstack.base_models.taggers.trial import try_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings

_PIXEL_FACTS = {"geometry", "canvas", "matte", "resample", "rounding"}


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: its name, whether it holds, what was seen."""

    check: str
    passed: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What `check_tagger` found.

    Parameters
    ----------
    folder : Path
    contract : Contract or None
        None if it could not be read.
    findings : tuple of Finding
        In the order of checking; it ends where what follows depends on what failed.
    features : str or None
        Tensor that was found to hold the features, and held to the scores, where the contract
        does not say it.
    """

    folder: Path
    contract: Contract | None
    findings: tuple[Finding, ...]
    features: str | None = None

    @property
    def passed(self) -> bool:
        """Whether everything holds."""
        return all(finding.passed for finding in self.findings)


def check_tagger(
    folder: Path, *, floor: float, threads: int, runtime: RuntimeChoice = REFERENCE
) -> CheckReport:
    """Run a tagger's whole contract against its files.

    Reads the contract, the tag file and the model, compares their shapes, and runs a flat and a
    noisy image, alone and in a batch. A failure is a finding, not an exception.

    Parameters
    ----------
    folder : Path
    floor : float
        The store's floor, part of the fingerprint that is shown.
    threads : int
    runtime : RuntimeChoice
        Backend and precision; by default ONNX Runtime in fp32.
    """
    findings: list[Finding] = []
    contract: Contract | None = None
    found: str | None = None
    stage = "contract"
    try:
        contract = contract_of_folder(folder)
        findings.append(Finding("contract", True, _described(contract)))
        findings.append(Finding("assumed", True, _assumed(contract)))
        if contract.unverified:
            findings.append(Finding("unverified", True, _unverified(contract)))
        findings.extend(_against_publisher(folder, contract))
        stage = "download"
        findings.extend(_pulled(folder))
        stage = "files"
        try_tagger(folder, load_settings().score.trial_seconds)
        tagger = load_tagger(folder, floor=floor, threads=threads, smoke=False, runtime=runtime)
        try:
            findings.extend(_loaded(tagger))
            stage = "outputs"
            findings.append(_run(tagger))
            findings.append(_batched(tagger))
        finally:
            tagger.close()
        stage = "features"
        finding, found = _features(folder, contract, floor, threads, runtime)
        findings.append(finding)
    except TagstackError as error:
        findings.append(Finding(stage, False, str(error)))
    return CheckReport(folder=folder, contract=contract, findings=tuple(findings), features=found)


def _with_commas(tags: Sequence[str]) -> list[Finding]:
    """Say which tags hold what separates tags in captions; those are written without it."""
    found = [tag for tag in tags if "," in tag]
    if not found:
        return []
    detail = (
        f"{len(found)} tags hold a comma, such as {found[0]!r}. Captions write them without it, so "
        f"that they can be read back; an alias in the contract gives them another name"
    )
    return [Finding("captions", True, detail)]


def _pulled(folder: Path) -> list[Finding]:
    """Hold the files to what was recorded when they were first pulled, if they were."""
    record = check_pulled(folder)
    if record is None:
        return []
    names = ", ".join(record.files)
    detail = f"{names} as first pulled from {record.repo} at {record.commit[:12]}"
    return [Finding("download", True, detail)]


def _against_publisher(folder: Path, contract: Contract) -> list[Finding]:
    """Compare what decides the pixels with the publisher's ``preprocess.json``, if there is one."""
    if not (folder / PREPROCESS_FILE).is_file():
        return []
    try:
        stated = _pixel_facts(timm_contract(folder).input)
    except TagstackError as error:
        return [Finding(PREPROCESS_FILE, True, f"cannot be compared: {error}")]
    declared = _pixel_facts(contract.input)
    differ = [
        f"{key} is {declared[key]}, not {value}"
        for key, value in stated.items()
        if declared[key] != value
    ]
    if not differ:
        return [Finding(PREPROCESS_FILE, True, "says what the contract says")]
    detail = (
        f"the contract contradicts it: {'; '.join(differ)}. Correct the contract, or do without "
        f"one (no {CONTRACT_FILE}, no --contract) to follow {PREPROCESS_FILE}."
    )
    return [Finding(PREPROCESS_FILE, False, detail)]


def _pixel_facts(source: Input) -> dict[str, Any]:
    """Return what decides the pixels, alike for equal meanings."""
    facts = source.model_dump(include=_PIXEL_FACTS)
    pads = source.geometry != "squash" or source.canvas is not None
    # Ranges as mean and deviation on the 0-1 scale.
    mean, std = {"0-1": (0, 1), "-1-1": (0.5, 0.5), "0-255": (0, 1 / 255)}.get(
        source.range or "", (source.mean, source.std)
    )
    return facts | {
        "size": source.height_width,
        "pad": source.pad if pads else None,
        "mean": mean if isinstance(mean, tuple) else (mean,) * 3,
        "std": std if isinstance(std, tuple) else (std,) * 3,
    }


def _described(contract: Contract) -> str:
    source = contract.input
    scale = source.range or f"mean {source.mean} std {source.std}"
    height, width = source.height_width
    first = source.canvas
    canvas = f" after fitting onto {first.size} {first.resample}" if first else ""
    return (
        f"{contract.name}: {width} x {height} {source.colour} {source.layout}, {source.geometry}, "
        f"{source.resample}{canvas}, pad {source.pad}, matte {source.matte}, {scale}, batch "
        f"{source.batch}; {contract.output.kind}; {contract.licence}"
    )


def _assumed(contract: Contract) -> str:
    """Return what would hold although the contract does not say so, and what else it implies."""
    sections = {name: getattr(contract, name) for name in ("files", "input", "output", "tags")}
    unsaid = [
        f"{name}.{key} = {value}"
        for name, section in sections.items()
        for key, value in section
        if key not in section.model_fields_set and value not in (None, {})
    ]
    threshold = contract.threshold
    own = ", ".join(f"{key} {value:g}" for key, value in threshold.per_category.items())
    trained = contract.training.ids if contract.training else "not known"
    return (
        f"{'; '.join(unsaid) or 'nothing beyond what the contract says'}; threshold "
        f"{threshold.default:g}{f' ({own})' if own else ''} where the tag file has none; "
        f"{len(contract.aliases)} renamed tags; trained on: {trained}"
    )


def _unverified(contract: Contract) -> str:
    return (
        f"no source says {'; '.join(contract.unverified)}. What stands there is a guess: "
        "before you trust it, hold it against labelled pictures (models check --labels FILE "
        "--images FOLDER)"
    )


def _loaded(tagger: Tagger) -> list[Finding]:
    info = tagger.session.info
    versions = " ".join(f"{name} {version}" for name, version in info.versions)
    batch = f"batch fixed to {info.model_batch}" if info.model_batch else "batch dynamic"
    counts = {
        category: tagger.vocabulary.categories.count(category)
        for category in sorted(set(tagger.vocabulary.categories))
    }
    listed = ", ".join(f"{count} {category}" for category, count in counts.items())
    height, width = tagger.framing.height, tagger.framing.width
    shape = (height, width, 3) if tagger.contract.input.layout == "NHWC" else (3, height, width)
    sides = ", ".join(map(str, shape))
    mask = tagger.contract.input.padding_mask
    masked = "" if mask is None else f" and {mask} (batch, {height}, {width})"
    shapes = f"input (batch, {sides}){masked}, output (batch, {len(tagger.vocabulary)})"
    return [
        Finding("shapes", True, shapes),
        Finding("tags", True, f"{len(tagger.vocabulary)} rows for as many outputs: {listed}"),
        *_with_commas(tagger.vocabulary.tags),
        Finding("model", True, f"{versions}, {info.provider}, {info.precision}, {batch}"),
        Finding("fingerprint", True, tagger.fingerprint),
    ]


def _run(tagger: Tagger) -> Finding:
    raw = smoke_test(tagger)
    seen = f"{raw.min():.4g} to {raw.max():.4g} on a flat and a noisy image"
    return Finding("outputs", True, f"{tagger.contract.output.kind} from {seen}")


def _features(
    folder: Path, contract: Contract, floor: float, threads: int, runtime: RuntimeChoice
) -> tuple[Finding, str | None]:
    """Say where the features are, and which tensor was found; what the contract says must hold.

    What is found without the contract is held to the last product as well: if it does not make
    the scores, there are no features to keep, and the tagger is as good as before.
    """
    try:
        tagger = load_tagger(
            folder, floor=floor, threads=threads, smoke=False, runtime=runtime, features=True
        )
        try:
            detail = check_features(tagger, smoke_pixels(tagger))
        finally:
            tagger.close()
    except TagstackError as error:
        if contract.output.features is not None:
            raise
        return Finding("features", True, f"none to keep: {error}"), None
    found = None if contract.output.features else tagger.contract.output.features
    return Finding("features", True, detail), found


def _batched(tagger: Tagger) -> Finding:
    shape = (9, tagger.framing.height, tagger.framing.width, tagger.framing.planes)
    pixels = unpadded(np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8))
    alone = np.concatenate([tagger.logits(pixels[i : i + 1]) for i in range(len(pixels))])
    equal = np.array_equal(tagger.logits(pixels), alone)
    detail = "9 images give the same bits together and alone" if equal else "rows differ"
    return Finding("batch", equal, detail)
