"""Arrays in a file: safetensors, written whole, with the rights of any other new file.

The library makes its files for their owner alone, which a service of another user cannot read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.atomic import written_whole


def write_arrays(
    path: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, str] | None = None
) -> None:
    """Write arrays of any shape and dtype by name, and ``facts`` as the file's metadata.

    Raises
    ------
    TagstackError
        If the system refuses to write.
    """
    from safetensors.numpy import save_file

    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with written_whole(path) as temporary:
        save_file(whole, temporary, None if facts is None else dict(facts))
