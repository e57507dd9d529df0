"""Where the processor has bf16 units, and what is said of them."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from tagstack.base_models.runtimes import bf16

SERVER = "processor\t: 0\nvendor_id\t: X\nflags\t\t: fpu avx512f avx512_bf16 amx_tile amx_bf16\n"
DESKTOP = "processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16_of_another_name\n"


@pytest.mark.parametrize(
    ("text", "units"),
    [(SERVER, ("amx_bf16", "avx512_bf16")), (DESKTOP, ()), ("processor : 0\n", ()), ("", ())],
)
def test_units_are_read_off_the_processors_flags(
    tmp_path: Path, text: str, units: tuple[str, ...]
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert bf16.bf16_units(cpuinfo) == units


def test_a_system_that_tells_no_flags_has_no_units(tmp_path: Path) -> None:
    assert bf16.bf16_units(tmp_path / "absent") == ()


def test_the_advice_says_gain_cost_and_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    said = bf16.bf16_advice(("amx_bf16",))
    assert "(amx_bf16): --backend openvino --precision bf16" in said
    assert "half the time, and about 1 % of the tags change" in said
    assert "pip install" not in said
    monkeypatch.setattr(bf16, "is_installed", lambda module: False)
    assert bf16.bf16_advice(("amx_bf16",)).endswith("pip install 'tagstack[openvino]'")
    assert not bf16.openvino_takes_bf16()


@pytest.mark.parametrize(("able", "takes"), [(["FP32", "BF16"], True), (["FP32"], False)])
def test_openvino_is_asked_what_is_switched_on(
    monkeypatch: pytest.MonkeyPatch, able: list[str], takes: bool
) -> None:
    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
            return able

    module = ModuleType("openvino")
    monkeypatch.setattr(module, "Core", Core, raising=False)
    monkeypatch.setitem(sys.modules, "openvino", module)
    monkeypatch.setattr(bf16, "is_installed", lambda name: True)
    assert bf16.openvino_takes_bf16() is takes
