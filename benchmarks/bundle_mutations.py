"""Change a bundle's files at random, hash them anew as a stranger would, and see what happens.

Each mutant is loaded and asked in a worker process: every rung, the rules, the thresholds. It is

    refused    in one line
    same       loaded, and every answer is what the untouched bundle gives
    other      loaded, with other answers: numbers that a fit could have given, in a bundle that is
               another one by its hash
    traceback, signal, timeout    what must not be

The bundle is fitted here, on made-up scores with all three learners. With --unhashed the manifest
keeps the old hashes: then everything must be refused.

    python benchmarks/bundle_mutations.py --count 2000 [--seed 0] [--only lightgbm.txt] [--unhashed]
"""

import argparse
import hashlib
import json
import random
import re
import select
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file
from scipy import sparse

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.base_models.pictures.picture_hash import PictureHashes
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.bundle.bundle import Bundle, BundleMember
from tagstack.ensemble.bundle.decisions import Judge
from tagstack.ensemble.bundle.files import loaded_bundle, out_of_fold_of, save_bundle
from tagstack.ensemble.bundle.fitted_images import FittedImages
from tagstack.ensemble.bundle.out_of_fold import OutOfFold
from tagstack.ensemble.bundle.trial import made_up_scores
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.thresholds.table import State, Thresholds
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.stack.stacker import Stacker

ODD_NUMBERS = [0, 1, -1, 2, 255, 2**15, 2**30, 2**31 - 1, -(2**31), 2**62, 1e300, -1e300]
ODD_TEXTS = ["", "nan", "inf", "-inf", "1e999", "-1", "99999999999999999999", "x", "..", "null"]
RULES = """
[[implication]]
id = "one"
source = "made up"
tags = ["tag_1"]
implies = "tag_0"
[[exclusive]]
id = "two"
source = "made up"
tags = ["tag_2", "tag_3"]
"""
BAD = ("traceback", "signal", "timeout")
SECONDS = 60.0


def fitted_bundle(folder: Path, n_images: int = 240, n_tags: int = 16) -> Path:
    """Fit a small bundle with every learner on made-up scores."""
    rng = np.random.default_rng(0)
    truth = rng.random((n_images, n_tags)) < np.linspace(0.5, 0.1, n_tags)
    logit = np.where(truth, 2.0, -2.5) + rng.normal(size=(3, n_images, n_tags)) * 1.5
    logit[2, :, -2:] = np.nan  # one tagger lacks two tags
    knows = np.asarray(~np.isnan(logit).all(axis=1))
    tag = np.tile(np.arange(n_tags, dtype=np.int32), n_images)
    indptr = np.arange(n_images + 1, dtype=np.int64) * n_tags
    tags = tuple(f"tag_{i}" for i in range(n_tags))
    scores = Level1Scores(
        images=tuple(f"{i}.png" for i in range(n_images)),
        vocabulary=Vocabulary(tags, ("general",) * (n_tags - 3) + ("character",) * 3),
        members=("a", "b", "c"),
        knows=knows,
        floor=np.full(3, -9.2, np.float32),
        pairs=Pairs(indptr=indptr, tag=tag, n_tags=n_tags),
        logit=logit.reshape(3, -1).astype(np.float32),
    )
    settings = load_settings(changes={"stack": _small_stack()})
    parents = np.zeros((n_tags, n_tags), bool)
    parents[1, 0] = True
    relations = TagRelations(sparse.csr_array(parents), ((2, 3), (4, 5, 6)))
    stacker = Stacker(settings.stack, seed=0, threads=1)
    stacker.fit(scores, sparse.csr_array(truth), np.arange(n_images) // 2, relations)
    even = np.full(n_tags, 0.4, np.float32)
    bundle = Bundle(
        members=tuple(BundleMember(name=n, fingerprint="0" * 64, source=n) for n in "abc"),
        vocabulary=scores.vocabulary,
        stacker=stacker,
        rules=Rules.from_toml(RULES),
        thresholds=_thresholds(scores.vocabulary, even),
        rung_thresholds=dict.fromkeys(stacker.rungs_, even),
        settings=settings,
        fitted_images=_fitted_images(rng, settings.score.near_duplicates),
        evidence={"images": n_images},
        out_of_fold=OutOfFold.of(
            [hashlib.sha256(name.encode()).hexdigest() for name in scores.images],
            stacker.chosen_,
            {rung: stacker.out_of_fold(rung) for rung in stacker.rungs_},
        ),
    )
    save_bundle(bundle, folder / "bundle")
    return folder / "bundle"


def _small_stack() -> dict[str, Any]:
    return {
        "folds": 3,
        "outer_fold": False,
        "calibration_strengths": [100.0],
        "logistic_strengths": [300.0],
        "member_worth": "none",
        "calibrator": "isotonic",
        "tuning": {"trials": 0},
        "lightgbm": {"rounds": 8, "leaves": 7, "min_rows": 20},
        "xgboost": {"rounds": 8, "depth": 3},
        "svm": {"min_positives": 10, "context": 3},
        "gate_bands": [],
    }


def _thresholds(vocabulary: Vocabulary, value: Any) -> Thresholds:
    n_tags = len(vocabulary)
    undefined = np.full(n_tags, np.nan)
    tuned: State = "tuned"
    return Thresholds(
        vocabulary=vocabulary,
        value=value,
        state=(tuned,) * n_tags,
        positives=np.full(n_tags, 30),
        estimate=undefined,
        low=undefined,
        high=undefined,
        objective=("F1",) * n_tags,
        calibration_hash="0" * 64,
    )


def _fitted_images(rng: np.random.Generator, near_duplicates: Any) -> FittedImages:
    looks = PictureHashes(
        known=np.ones(20, bool),
        bits=rng.integers(0, 2**63, 20).astype(np.uint64),
        thumbnails=rng.integers(0, 256, (20, 192)).astype(np.uint8),
    )
    contents = np.sort(rng.integers(0, 2**63, 20)).astype(np.uint64)
    empty = np.empty(0, np.uint64)
    return FittedImages(
        contents=contents, titles=empty, looks=looks, near_duplicates=near_duplicates
    )


def mutated(path: Path, rng: random.Random) -> str:
    """Change a file in place; return how."""
    ways = {
        ".safetensors": [_array],
        ".json": [_json, _text],
        ".txt": [_text, _text],
        ".csv": [_text],
        ".toml": [_text],
        ".ubj": [_word],
    }
    way = rng.choice([*ways.get(path.suffix, []), *ways.get(path.suffix, []), _bytes])
    return way(path, rng)


def _bytes(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    kind = rng.choice(["flip", "cut", "drop", "double"])
    if kind == "flip":
        for _ in range(rng.choice([1, 1, 4])):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del data[at:]
    elif kind == "drop":
        del data[at : at + rng.choice([1, 4, 100])]
    else:
        data[at:at] = data[at : at + rng.choice([1, 8, 200])]
    path.write_bytes(bytes(data))
    return f"bytes: {kind} at {at}"


def _word(path: Path, rng: random.Random) -> str:
    """Put an odd big-endian word into an array of four-byte numbers, or anywhere."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data) - 8)
    if rng.random() < 0.8:
        found = rng.choice(list(re.finditer(rb"\[\$[ld]#L(.{8})", data, re.DOTALL)))
        n = int.from_bytes(found[1], "big")
        at = found.end() + 4 * rng.randrange(n) if n else at
    word = np.array(rng.choice([-1, 2**30, 2**31 - 1, 7, 0]), ">i4").tobytes()
    word = rng.choice([word, np.array(rng.choice([np.nan, np.inf, 1e30]), ">f4").tobytes()])
    data[at : at + 4] = word
    path.write_bytes(bytes(data))
    return f"word {word.hex()} at {at}"


def _array(path: Path, rng: random.Random) -> str:
    arrays = load_file(path)
    name = rng.choice(sorted(n for n, a in arrays.items() if a.size))
    array = arrays[name].copy()
    kind = rng.choice(["value", "value", "value", "shape", "gone", "type"])
    if kind == "value":
        place = rng.randrange(array.size)
        values = [np.nan, np.inf, -np.inf, *ODD_NUMBERS]
        with np.errstate(all="ignore"):
            if array.dtype.kind == "f":
                array.flat[place] = np.array(rng.choice(values)).astype(array.dtype)
            else:
                wrapped = np.array(rng.choice(ODD_NUMBERS[:10])).astype(array.dtype)
                array.flat[place] = wrapped
    elif kind == "shape":
        array = np.ascontiguousarray(array[: len(array) // 2])
    elif kind == "type":
        array = array.astype(np.float32 if array.dtype.kind != "f" else np.int64)
    if kind == "gone":
        del arrays[name]
    else:
        arrays[name] = array
    with np.errstate(all="ignore"):
        save_file(arrays, path)
    return f"{kind} of {name}"


def _text(path: Path, rng: random.Random) -> str:
    text = path.read_text(encoding="utf-8")
    found = list(re.finditer(r"-?\d+(\.\d+)?(e[+-]?\d+)?|\w+", text))
    chosen = rng.choice(found)
    new = str(rng.choice([*ODD_TEXTS, *ODD_NUMBERS]))
    path.write_text(text[: chosen.start()] + new + text[chosen.end() :], encoding="utf-8")
    return f"{chosen[0]!r:.20} -> {new!r}"


def _json(path: Path, rng: random.Random) -> str:
    content = json.loads(path.read_text(encoding="utf-8"))
    node, steps = content, []
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        parent, key = node, rng.choice(keys)
        node = parent[key]
        steps.append(str(key))
        if rng.random() < 0.2:
            break
    if path.name == "manifest.json" and steps[0] == "files":
        return "nothing"
    new: object = rng.choice([None, [], {}, True, *ODD_TEXTS, *ODD_NUMBERS, float("nan")])
    if rng.random() < 0.2:
        del parent[key]
    else:
        parent[key] = new
    path.write_text(json.dumps(content), encoding="utf-8")
    return f"{'.'.join(steps)} = {new!r:.20}"


def rehashed(bundle: Path) -> None:
    """Write the hashes that the files have now into the manifest, where it is still one."""
    path = bundle / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        manifest["files"] = {name: file_sha256(bundle / name) for name in manifest["files"]}
    except (ValueError, KeyError, TypeError, OSError):
        return
    path.write_text(json.dumps(manifest), encoding="utf-8")


def answers(bundle: Path) -> str:
    """Return a digest of what a bundle answers; raise what it raises."""
    loaded, kept = loaded_bundle(bundle), out_of_fold_of(bundle)
    scores, digest = made_up_scores(loaded), hashlib.sha256()
    for rung in loaded.stacker.rungs_:
        proba = loaded.stacker.predict_proba(scores, rung)
        digest.update(rung.encode() + proba.proba.tobytes() + proba.base.tobytes())
    for image in Judge(loaded, 0.05).judge(scores):
        digest.update(repr(image.tags).encode())
    if kept is not None:
        digest.update(kept.proba.proba.tobytes() + kept.proba.pairs.tag.tobytes())
    return digest.hexdigest()


def work() -> None:
    """Answer for the bundles that standard input names, a line each."""
    for line in sys.stdin:
        try:
            said = {"digest": answers(Path(line.strip()))}
        except TagstackError as error:
            said = {"refused": str(error)}
        except Exception:
            said = {"traceback": traceback.format_exc()}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


class Worker:
    """A process that answers for bundles, and a new one where that died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, bundle: Path) -> dict[str, str]:
        """Return what the process says of a bundle, or how it ended."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__, "--work"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{bundle}\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], SECONDS)
        line = self._process.stdout.readline() if ready else ""
        if line:
            return dict(json.loads(line))
        return self.end(timed_out=not ready)

    def end(self, *, timed_out: bool = False) -> dict[str, str]:
        """End the process; return how it ended."""
        process, self._process = self._process, None
        if process is None:
            return {}
        process.kill()
        code = process.wait()
        return {"timeout": "yes"} if timed_out else {"signal": str(code)}


def outcome(said: dict[str, str], untouched: str) -> str:
    """Return one word for an answer."""
    if "digest" in said:
        return "same" if said["digest"] == untouched else "other"
    if "refused" in said:
        return "refused" if "\n" not in said["refused"] else "traceback"
    return next(iter(said))


def main() -> int:
    """Print a table of files and outcomes; return 1 if a mutant got further than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--unhashed", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--work", action="store_true")
    options = parser.parse_args()
    if options.work:
        work()
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return run(options, Path(folder))


def run(options: argparse.Namespace, folder: Path) -> int:
    """Try so many mutants of every file in turn."""
    bundle, worker = fitted_bundle(folder), Worker()
    untouched = worker.ask(bundle)["digest"]
    names = [str(p.relative_to(bundle)) for p in sorted(bundle.rglob("*")) if p.is_file()]
    names = [name for name in names if options.only in name]
    table: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for number in range(options.count):
        rng, name = random.Random(f"{options.seed} {number}"), names[number % len(names)]
        mutant = folder / "mutant"
        shutil.copytree(bundle, mutant)
        how = mutated(mutant / name, rng)
        if not options.unhashed:
            rehashed(mutant)
        said = worker.ask(mutant)
        table[name][seen := outcome(said, untouched)] += 1
        if options.verbose or seen in BAD or (options.unhashed and seen == "other"):
            print(f"{number} {name}: {how}\n{next(iter(said.values()))}", flush=True)
        shutil.rmtree(mutant)
    worker.end()
    print(f"{'file':34}{'refused':>9}{'same':>9}{'other':>9}" + "".join(f"{b:>11}" for b in BAD))
    for name, seen_here in table.items():
        counts = [seen_here[word] for word in ("refused", "same", "other")]
        print(f"{name:34}" + "".join(f"{n:9}" for n in counts), end="")
        print("".join(f"{seen_here[word]:11}" for word in BAD))
    return int(any(seen_here[word] for seen_here in table.values() for word in BAD))


if __name__ == "__main__":
    sys.exit(main())
