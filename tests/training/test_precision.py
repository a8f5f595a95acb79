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
    assert resolve_dtype("auto", cpu_info) == expected


def test_auto_is_float32_where_the_processor_does_not_say(tmp_path: Path) -> None:
    assert resolve_dtype("auto", tmp_path / "absent") == "float32"


def test_a_named_dtype_stays(tmp_path: Path) -> None:
    assert resolve_dtype("mixed_bfloat16", tmp_path / "absent") == "mixed_bfloat16"
