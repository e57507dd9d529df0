"""How long a cluster takes to score a collection, and what it waits for: a model of stated parts.

Nothing here needs a cluster. Rates of this machine are measured (``--measure``); rates of hardware
that is not here are assumptions, named below and options of the command. A run is

    plan    every picture is read once by all machines; one process sorts them into shards
    score   the slowest of: networks on GPUs, decoding on cores, network cards, object store
    join    one process copies all shards into one store, sorted by name

and all parts that one process does keep their length however many machines there are.

    python benchmarks/scaling_model.py [--pictures 1e6,1e8] [--gpus 1,8,64] [--measure]
"""

import argparse
import hashlib
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from tagstack.base_models.pictures.images import FileContent
from tagstack.base_models.pictures.picture_hash import PictureHash
from tagstack.base_models.scores.member_info import MemberInfo
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.shards import FOLDER, merge_shards
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.sources import ImageSources
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.ensemble.cluster.planned import Identified, plan_key, shards_of


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the model is made of; ``WHAT`` says where each number is from."""

    gpu_pictures_s: float = 600.0
    gpus_a_machine: float = 8
    cores_a_machine: float = 96
    decode_s: float = 0.020
    picture_bytes: float = 700e3
    card_bytes_s: float = 3.1e9
    storage_bytes_s: float = 12.5e9
    storage_requests_s: float = 5500.0
    prefixes: float = 16
    reads: float = 2
    start_s: float = 90.0
    hash_bytes_s: float = 1.0e9
    plan_s: float = 7e-6
    join_s: float = 250e-6
    plan_bytes: float = 400.0


# "assumed" is hardware that is not here; "measured" is what --measure found.
WHAT = {
    "gpu_pictures_s": "pictures a second of a GPU, all taggers (assumed)",
    "gpus_a_machine": "GPUs in a machine (assumed)",
    "cores_a_machine": "processor cores in a machine (assumed)",
    "decode_s": "core seconds to decode and frame a picture (docs/results.md: .017 to .035)",
    "picture_bytes": "bytes a picture (the JPEG of that table)",
    "card_bytes_s": "bytes a second of a machine's network card (assumed: 25 Gbit)",
    "storage_bytes_s": "bytes a second of all storage (assumed: 100 Gbit)",
    "storage_requests_s": "requests a second a prefix (the bound that Amazon states for S3)",
    "prefixes": "prefixes that the names are spread over (assumed)",
    "reads": "times that a picture is read: to plan, and to decode",
    "start_s": "seconds until workers have loaded their taggers (assumed)",
    "hash_bytes_s": "bytes a second of SHA-256 on a core (measured)",
    "plan_s": "seconds a picture to sort into shards, one process (measured)",
    "join_s": "seconds a picture to join, one process, two members of 120 scores (measured)",
    "plan_bytes": "bytes of the command's memory a picture, for the plan (measured)",
}


@dataclass(frozen=True)
class Run:
    """A run as the model has it: seconds of each part, and what scoring waits for."""

    plan: float
    score: float
    join: float
    waits_for: str

    @property
    def seconds(self) -> float:
        """All together."""
        return self.plan + self.score + self.join


def modelled(parts: Parts, n_pictures: float, n_gpus: int) -> Run:
    """Return how long a collection takes on so many GPUs."""
    machines = max(1.0, n_gpus / parts.gpus_a_machine)  # a machine with fewer GPUs is a whole one
    cores = machines * parts.cores_a_machine
    network = min(
        machines * parts.card_bytes_s / parts.picture_bytes,
        parts.storage_bytes_s / parts.picture_bytes,
        parts.storage_requests_s * parts.prefixes,
    )
    rates = {
        "GPUs": n_gpus * parts.gpu_pictures_s,
        "decoding": cores / parts.decode_s,
        "network cards": machines * parts.card_bytes_s / parts.picture_bytes,
        "storage bandwidth": parts.storage_bytes_s / parts.picture_bytes,
        "storage requests": parts.storage_requests_s * parts.prefixes,
    }
    waits_for = min(rates, key=lambda name: rates[name])
    hashing = cores * parts.hash_bytes_s / parts.picture_bytes
    plan = n_pictures / min(network, hashing) * (parts.reads - 1) + n_pictures * parts.plan_s
    score = parts.start_s + n_pictures / rates[waits_for]
    return Run(plan, score, n_pictures * parts.join_s, waits_for)


def table(parts: Parts, pictures: list[float], gpus: list[int]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield (
        "| pictures | GPUs | plan, h | score, h | join, h | whole, h | times 1 GPU | "
        "scoring waits for | memory of the command, GB |"
    )
    yield "|--:|--:|--:|--:|--:|--:|--:|---|--:|"
    for n in pictures:
        alone = modelled(parts, n, 1).seconds
        for g in gpus:
            run = modelled(parts, n, g)
            hours = (f"{s / 3600:.2f}" for s in (run.plan, run.score, run.join, run.seconds))
            yield (
                f"| {n:,.0f} | {g} | {' | '.join(hours)} | {alone / run.seconds:.1f} | "
                f"{run.waits_for} | {n * parts.plan_bytes / 1e9:,.1f} |"
            )


def measured() -> dict[str, float]:
    """Return the rates that this machine has, in CPU seconds of one process."""
    block = bytes(1 << 26)
    hashing = _cpu_seconds(lambda: hashlib.sha256(block).digest())
    n = 100_000
    found: list[Identified] = [
        (f"folder/{i:08d}.jpg", FileContent(hashlib.sha256(str(i).encode()).hexdigest(), i))
        for i in range(n)
    ]
    source = ImageSources(Path("/"), ())
    planning = _cpu_seconds(lambda: plan_key(shards_of(source, found, 10), ("a",)))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    again = [
        (f"folder/{i:08d}.jpg", FileContent(hashlib.sha256(str(i).encode()).hexdigest(), i))
        for i in range(10_000)
    ]
    shards = shards_of(source, again, 10)
    plan_bytes = (tracemalloc.get_traced_memory()[0] - before) / len(again)
    tracemalloc.stop()
    assert len(shards) == 10
    return {
        "hash_bytes_s": len(block) / hashing,
        "plan_s": planning / n,
        "plan_bytes": plan_bytes,
        "join_s": _joining(6_000),
    }


def _joining(n_images: int, n_tags: int = 10_000, n_kept: int = 120) -> float:
    """Return the CPU seconds a picture to join shards of two members."""
    rng = np.random.default_rng(0)
    names = tuple(f"tag_{i}" for i in range(n_tags))
    vocabulary = Vocabulary(names, ("general",) * n_tags)
    none = np.zeros(n_tags, np.float32)
    members = Members(
        tuple(
            MemberInfo(
                name=name, fingerprint=hashlib.sha256(name.encode()).hexdigest(), source="",
                vocabulary=vocabulary, aliases={}, floor=1e-4, published_thresholds=none,
                published_counts=none, runtime="", training=None,
            )
            for name in ("a", "b")
        )
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "scores"
        for shard in range(4):
            with ScoreWriter(store / FOLDER / f"{shard:05d}", members) as writer:
                for i in range(shard, n_images, 4):
                    sha256 = hashlib.sha256(str(i).encode()).hexdigest()
                    writer.add_image(path=f"{i:08d}.jpg", root="/", sha256=sha256, size_bytes=1)
                    writer.add_hash(sha256, PictureHash(bits=i, thumbnail=bytes(192)))
                    for number in range(2):
                        tags = np.sort(rng.choice(n_tags, n_kept, replace=False)).astype(np.int32)
                        logits = rng.normal(-4, 2, n_kept).astype(np.float16)
                        writer.add_kept(number, sha256, tags, logits, np.empty(0, np.float16))
                    if i // 4 % 2048 == 2047:
                        writer.commit()
                writer.commit()
        return _cpu_seconds(lambda: merge_shards(store, part_images=2048)) / n_images


def _cpu_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    """Print what the model is made of, and what it says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", default="1e6,1e7,1e8")
    parser.add_argument("--gpus", default="1,2,4,8,16,32,64")
    parser.add_argument("--measure", action="store_true", help="this machine's rates, first")
    for part in fields(Parts):
        option = f"--{part.name.replace('_', '-')}"
        parser.add_argument(option, type=float, default=None, help=WHAT[part.name])
    arguments = vars(parser.parse_args())
    given = {part.name: arguments[part.name] for part in fields(Parts)}
    if arguments["measure"]:
        found = measured()
        given = {name: found.get(name) if one is None else one for name, one in given.items()}
    parts = Parts(**{name: one for name, one in given.items() if one is not None})
    print("| part | value | |\n|---|--:|---|")
    for part in fields(Parts):
        print(f"| `{part.name}` | {getattr(parts, part.name):.4g} | {WHAT[part.name]} |")
    print()
    pictures = [float(text) for text in arguments["pictures"].split(",")]
    gpus = [int(text) for text in arguments["gpus"].split(",")]
    print("\n".join(table(parts, pictures, gpus)))


if __name__ == "__main__":
    main()
