"""Which dtype policy `dtype = "auto"` means on this machine."""

from pathlib import Path

_MULTIPLIES_BFLOAT16 = {"avx512_bf16", "amx_bf16"}


def resolve_dtype(name: str, cpu_info: Path = Path("/proc/cpuinfo")) -> str:
    """ "auto" -> "mixed_bfloat16" where the processor multiplies bfloat16, else "float32"; other names as they are.

    The processor's flags are read where Linux lists them; elsewhere auto means float32.
    """
    if name != "auto":
        return name
    return "mixed_bfloat16" if _MULTIPLIES_BFLOAT16 & _processor_flags(cpu_info) else "float32"


def _processor_flags(cpu_info: Path) -> set[str]:
    try:
        lines = cpu_info.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())
