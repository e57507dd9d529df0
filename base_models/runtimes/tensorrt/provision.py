"""An engine that may be used: from the cache, or built, tried in another process, and kept.

A file that is stale is built anew. One that fails its trial is set aside and built once more; if
that one fails too, the caller gets a `BackendError` and takes another backend.
"""

import hashlib
import logging
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.driver import Driver
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.stored_precision import weights_of
from tagstack.base_models.runtimes.tensorrt.building import build_plan
from tagstack.base_models.runtimes.tensorrt.engine_cache import EngineCache
from tagstack.base_models.runtimes.tensorrt.engine_file import EngineHeader, StaleEngineError
from tagstack.base_models.runtimes.tensorrt.prepared_model import MODELS, prepared_model
from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec, engine_key, key_facts
from tagstack.base_models.runtimes.tensorrt.timing_cache import TimingCache
from tagstack.base_models.runtimes.tensorrt.trial import Trial, try_engine
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi

logger = logging.getLogger(__name__)

_FP8_SINCE = (8, 9)  # compute capability: Ada and Hopper


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine ready for use.

    Parameters
    ----------
    header : EngineHeader
    plan : bytes
    was_built : bool
        False if it was in the cache.
    takes_pixels : bool
        Whether its input is framed pixels, see `pixel_input`.
    """

    header: EngineHeader
    plan: bytes
    was_built: bool
    takes_pixels: bool = False


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """Where and with what engines are made.

    Parameters
    ----------
    cache : EngineCache
    api : TrtApi
    driver : Driver
    trial_seconds : float
        For the first load; without a GPU there is none, and engines stay untried.
    """

    cache: EngineCache
    api: TrtApi
    driver: Driver
    trial_seconds: float

    def provide(
        self, model: Path, contract: Contract, spec: EngineSpec, *, pixels: bool = False
    ) -> Engine:
        """Return the engine of a model, built if there is none that fits.

        Parameters
        ----------
        model : Path
        contract : Contract
        spec : EngineSpec
        pixels : bool
            Whether it shall take framed pixels.

        Raises
        ------
        TagstackError
            If the model cannot be built; `BackendError` if what was built cannot be loaded.
        """
        _check_fp8(model, spec, self.driver)
        prepared = prepared_model(
            model,
            contract,
            self.cache.folder / MODELS,
            precision=spec.precision,
            max_batch=spec.max_batch,
            attention=self.api.knows("Attention"),
            pixels=pixels,
        )
        source = prepared.path
        spec = spec if prepared.batch is None else spec.fixed_at(prepared.batch)
        facts = key_facts(source, spec, self.api, self.driver)
        key = engine_key(facts)
        with self.cache.lock(key):
            found = self._found(key)
            if found is not None:
                return replace(found, takes_pixels=prepared.takes_pixels)
            self.cache.drop_unfinished(key)
            for _ in range(2):
                header, plan = self._built(source, contract.name, spec, key, facts)
                trial = self._tried(header)
                if trial.passed:
                    return Engine(
                        header=header,
                        plan=plan,
                        was_built=True,
                        takes_pixels=prepared.takes_pixels,
                    )
                place = self.cache.quarantine(key, trial.reason)
                logger.warning("Engine of %s %s; set aside: %s", model, trial.reason, place)
        raise BackendError(
            f"{model}: two engines were built and neither could be run; the last "
            f"{trial.reason}. See `tagstack engines list`."
        )

    def _found(self, key: str) -> Engine | None:
        try:
            kept = self.cache.read(key)
        except StaleEngineError as error:
            place = self.cache.quarantine(key, str(error))
            logger.warning("%s Set aside: %s", error, place)
            return None
        if kept is None:
            return None
        header, plan = kept
        trial = self._tried(header)
        if trial.passed:
            return Engine(header=header, plan=plan, was_built=False)
        place = self.cache.quarantine(key, trial.reason)
        logger.warning("Engine %s %s; set aside: %s", key[:16], trial.reason, place)
        return None

    def _built(
        self, model: Path, tagger: str, spec: EngineSpec, key: str, facts: dict[str, object]
    ) -> tuple[EngineHeader, bytes]:
        logger.info("building the engine of %s (%s)", tagger, spec.precision)
        began = time.perf_counter()
        timing = TimingCache(self.cache.folder, self.api, self.driver)
        built = build_plan(model, spec, self.api, timing)
        header = EngineHeader(
            key=key,
            facts=facts,
            tagger=tagger,
            plan_sha256=hashlib.sha256(built.plan).hexdigest(),
            plan_bytes=len(built.plan),
            built=asdict(built.spec),
            seconds=round(time.perf_counter() - began, 3),
            made=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.cache.write(header, built.plan)
        return header, built.plan

    def _tried(self, header: EngineHeader) -> Trial:
        if self.cache.is_tried(header):
            return Trial(True, "was tried before")
        if not self.driver.devices:
            return Trial(True, "cannot be tried without a GPU")
        path = self.cache.path(header.key)
        trial = try_engine(path, header.key, self.api.flavour, timeout_s=self.trial_seconds)
        if trial.passed:
            self.cache.mark_tried(header)
        return trial


def _check_fp8(model: Path, spec: EngineSpec, driver: Driver) -> None:
    if weights_of(spec.precision) != "fp8" or not driver.devices:
        return
    device = driver.devices[0]
    if tuple(map(int, device.compute_capability.split("."))) < _FP8_SINCE:
        msg = (
            f"{model} is in fp8, which needs compute capability 8.9 or later; {device.name} has "
            f"{device.compute_capability}. Use the tagger that it was made from, or int8."
        )
        raise BackendError(msg)
