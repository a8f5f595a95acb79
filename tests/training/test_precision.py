from pathlib import Path

import pytest

from regard.training.precision import resolve_dtype


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx512f avx512_bf16 vnni", "mixed_bfloat16"),
        ("fpu amx_bf16", "mixed_bfloat16"),
        ("fpu avx512f avx2", "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_multiplies_it(tmp_path: Path, flags: str, expected: str) -> None:
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"processor : 0\nflags\t\t: {flags}\nbugs : avx512_bf16_is_no_flag_here\n")
    assert resolve_dtype("auto", cpu_info, capabilities=()) == expected


def test_auto_is_float32_where_the_processor_does_not_say(tmp_path: Path) -> None:
    assert resolve_dtype("auto", tmp_path / "absent", capabilities=()) == "float32"


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ([(8, 0)], "mixed_bfloat16"),
        ([(9, 0), (8, 6)], "mixed_bfloat16"),
        ([(9, 0), (7, 5)], "float32"),
        ([(0, 0)], "float32"),
    ],
)
@pytest.mark.parametrize("flags", ["avx512_bf16", "avx2"])
def test_where_there_are_gpus_they_decide(
    tmp_path: Path, flags: str, capabilities: list[tuple[int, int]], expected: str
) -> None:
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"flags : {flags}\n")
    assert resolve_dtype("auto", cpu_info, capabilities) == expected


def test_the_gpus_are_those_that_tensorflow_sees(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = {"new": {"compute_capability": (8, 9)}, "old": {"compute_capability": (7, 0)}, "other": {}}
    monkeypatch.setattr("tensorflow.config.experimental.get_device_details", said.get)
    for seen, expected in ((["new"], "mixed_bfloat16"), (["new", "old"], "float32"), (["other"], "float32")):
        monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind, seen=seen: seen)
        assert resolve_dtype("auto", tmp_path / "absent") == expected


def test_a_named_dtype_stays(tmp_path: Path) -> None:
    assert resolve_dtype("mixed_bfloat16", tmp_path / "absent") == "mixed_bfloat16"
