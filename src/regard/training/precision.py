"""Which dtype policy `dtype = "auto"` means on this machine."""

from collections.abc import Sequence
from pathlib import Path

_MULTIPLIES_BFLOAT16 = {"avx512_bf16", "amx_bf16"}
_AMPERE = (8, 0)  # NVIDIA's first compute capability with bfloat16 products


def resolve_dtype(
    name: str, cpu_info: Path = Path("/proc/cpuinfo"), capabilities: Sequence[tuple[int, int]] | None = None
) -> str:
    """ "auto" -> "mixed_bfloat16" where what trains multiplies bfloat16, else "float32"; other names as they are.

    That is the GPUs where there are any, all of them; else the processor, whose flags are read where Linux lists them:
    elsewhere auto means float32. capabilities: the GPUs' compute capabilities; absent: of those that TensorFlow sees.
    """
    if name != "auto":
        return name
    found = _capabilities() if capabilities is None else capabilities
    multiplies = min(found) >= _AMPERE if found else bool(_MULTIPLIES_BFLOAT16 & _processor_flags(cpu_info))
    return "mixed_bfloat16" if multiplies else "float32"


def _capabilities() -> list[tuple[int, int]]:
    """(0, 0) of a GPU that does not say."""
    import tensorflow as tf

    details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
    return [each.get("compute_capability", (0, 0)) for each in details]


def _processor_flags(cpu_info: Path) -> set[str]:
    try:
        lines = cpu_info.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())
