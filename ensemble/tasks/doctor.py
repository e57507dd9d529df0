"""What this machine can do: versions, cores, memory, runtimes, and what to install for more."""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

from tagstack.base_models.compilation import numba_fault
from tagstack.base_models.libraries import mend, reason
from tagstack.base_models.runtimes.bf16 import bf16_advice, bf16_units, openvino_takes_bf16
from tagstack.base_models.runtimes.driver import examine_driver
from tagstack.base_models.runtimes.probing import BACKENDS, Probe, probe
from tagstack.base_models.runtimes.selection import RuntimeChoice, choose
from tagstack.base_models.threads import usable_cores
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import HOOKS, Offer

# Packages by the module that is imported, for one that is installed may lack a system's library.
_REQUIRED = {
    "numpy": "numpy",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "lightgbm": "lightgbm",
    "optuna": "optuna",
    "joblib": "joblib",
    "pillow": "PIL",
    "pyarrow": "pyarrow",
}
_EITHER = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "xgboost": ("xgboost-cpu", "xgboost"),
}
_OPTIONAL = {
    "onnx": "int8 and float16 models, engines: pip install 'tagstack[quantize]'",
    "huggingface_hub": "fetching published taggers: pip install 'tagstack[hub]'",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the examination.

    Parameters
    ----------
    subject : str
    state : str
        ``"ok"``, ``"absent"`` (optional and not installed) or ``"fault"`` (must be mended).
    detail : str
        What was found, and what to do if something is missing.
    """

    subject: str
    state: str
    detail: str


def examine(directory: Path) -> tuple[Finding, ...]:
    """Return what was found on this machine; ``directory`` is where results would be written."""
    return (
        *_machine(directory),
        *(_package(name, module) for name, module in _REQUIRED.items()),
        *(_exactly_one(module, names) for module, names in _EITHER.items()),
        _gpu(),
        *_backends(),
        _bf16(),
        *(_optional(module, advice) for module, advice in _OPTIONAL.items()),
        _numba(),
        *(_plug_in(offer) for hook in HOOKS for offer in hook.plug_ins()),
    )


def _machine(directory: Path) -> tuple[Finding, ...]:
    version = sys.version_info
    supported = (3, 11) <= version[:2] <= (3, 13)
    python = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    free_gib = shutil.disk_usage(directory).free / 2**30
    writable = os.access(directory, os.W_OK)
    space = f"{free_gib:.1f} GiB free" if writable else "this folder cannot be written to"
    return (
        Finding(
            subject="python",
            state="ok" if supported else "fault",
            detail=python if supported else f"{python}; expected 3.11, 3.12 or 3.13",
        ),
        Finding(subject="cores", state="ok", detail=f"{usable_cores()} usable"),
        Finding(subject="disk", state="ok" if writable else "fault", detail=space),
    )


def _package(name: str, module: str) -> Finding:
    version = _version(name)
    if version is None:
        advice = "not installed; run: pip install 'tagstack[cpu]'"
        return Finding(subject=name, state="fault", detail=advice)
    return _loaded(module, Finding(subject=name, state="ok", detail=version))


def _exactly_one(module: str, names: tuple[str, ...]) -> Finding:
    """Two builds of one module overwrite each other's files, so exactly one may be there."""
    found = {name: version for name in names if (version := _version(name)) is not None}
    if len(found) == 1:
        detail = " ".join(*found.items())
        return _loaded(module, Finding(subject=module, state="ok", detail=detail))
    if found:
        advice = f"{' and '.join(found)} overwrite each other; uninstall both, then install one"
    else:
        advice = "not installed; run: pip install 'tagstack[cpu]' or 'tagstack[gpu]'"
    return Finding(subject=module, state="fault", detail=advice)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _loaded(module: str, found: Finding) -> Finding:
    """Return a finding, or that its module does not load."""
    try:
        import_module(module)
    except Exception as error:  # a broken package raises whatever it likes
        detail = f"{found.detail}, but does not load ({reason(error)}). {mend(error)}"
        return Finding(subject=found.subject, state="fault", detail=detail)
    return found


def _gpu() -> Finding:
    driver = examine_driver()
    if driver.fault is not None:
        return Finding(subject="gpu", state="absent", detail=driver.fault)
    names = ", ".join(str(device) for device in driver.devices)
    return Finding(subject="gpu", state="ok", detail=f"{names}; CUDA up to {driver.cuda_version}")


def _backends() -> tuple[Finding, ...]:
    """Say of each backend whether it can run, and which ``auto`` would take."""
    findings = [_backend(probe(backend)) for backend in BACKENDS]
    try:
        chosen = choose(RuntimeChoice(backend="auto", precision="fp32"))
    except TagstackError as error:
        findings.append(Finding(subject="backend auto", state="fault", detail=str(error)))
    else:
        detail = f"takes {chosen.backend}"
        findings.append(Finding(subject="backend auto", state="ok", detail=detail))
    return tuple(findings)


def _backend(found: Probe) -> Finding:
    subject = f"backend {found.backend}"
    if found.available:
        return Finding(subject=subject, state="ok", detail=f"runs on {', '.join(found.devices)}")
    state = "fault" if found.backend == "ort" else "absent"
    return Finding(subject=subject, state=state, detail=f"{found.reason}; run: {found.install}")


def _bf16() -> Finding:
    """Say where scoring in bf16 would take half the time; OpenVINO knows what is switched on."""
    units = bf16_units() or (("says OpenVINO",) if openvino_takes_bf16() else ())
    if not units:
        return Finding(subject="bf16", state="absent", detail="this processor shows no bf16 units")
    return Finding(subject="bf16", state="ok", detail=bf16_advice(units))


def _optional(module: str, advice: str) -> Finding:
    if find_spec(module) is None:
        return Finding(subject=module, state="absent", detail=advice)
    return _loaded(module, Finding(subject=module, state="ok", detail="installed"))


def _numba() -> Finding:
    """Say whether compiled code runs; one that is installed and does not import must be mended."""
    fault = numba_fault()
    if fault is None:
        detail = "installed; resizing, decoding and comparing run compiled code where it pays"
        return Finding(subject="numba", state="ok", detail=detail)
    state = "absent" if find_spec("numba") is None else "fault"
    return Finding(subject="numba", state=state, detail=f"{fault}, for the same results sooner")


def _plug_in(offer: Offer) -> Finding:
    """Say of what a package offers whether it loads; nothing else waits for one that does not."""
    subject = f"{offer.kind} {offer.name}"
    try:
        offer.load()
    except TagstackError as error:
        return Finding(subject=subject, state="fault", detail=str(error))
    return Finding(subject=subject, state="ok", detail=f"{offer.package}, {offer.target}")
