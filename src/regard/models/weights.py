"""How a checkpoint's tensors become ours: one rule a variable, and each rule works in both directions."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class StoredTensors(Protocol):
    """The tensors of a checkpoint, which are on disk until one is asked for."""

    def __contains__(self, name: object) -> bool: ...

    def __getitem__(self, name: str) -> np.ndarray: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor that is there; nothing is read."""
        ...


@dataclass(frozen=True)
class Rule:
    """Our variable at `path` is made of `names`, tensors of the checkpoint, side by side on its last axis."""

    path: str
    names: tuple[str, ...]
    shape: tuple[int, ...]  # of our variable
    transposed: bool = False  # the checkpoint stores (out, in), we (in, out)

    def stored_shape(self) -> tuple[int, ...]:
        """The shape of each of the checkpoint's tensors."""
        part = (*self.shape[:-1], self.shape[-1] // len(self.names))
        return part[::-1] if self.transposed else part

    def join(self, parts: list[np.ndarray]) -> np.ndarray:
        """The checkpoint's tensors -> our variable."""
        return np.concatenate([part.T if self.transposed else part for part in parts], axis=-1)

    def split(self, variable: np.ndarray) -> dict[str, np.ndarray]:
        """Our variable -> the checkpoint's tensors."""
        parts = np.split(variable, len(self.names), axis=-1)
        ordered = (np.ascontiguousarray(part.T if self.transposed else part) for part in parts)
        return dict(zip(self.names, ordered, strict=True))


def linear(path: str, names: tuple[str, ...], in_width: int, out_width: int) -> list[Rule]:
    """A torch `Linear`, or several that we hold side by side: weight (out, in) and bias."""
    return [
        Rule(f"{path}/kernel", tuple(f"{name}.weight" for name in names), (in_width, len(names) * out_width), True),
        Rule(f"{path}/bias", tuple(f"{name}.bias" for name in names), (len(names) * out_width,)),
    ]


def norm(path: str, name: str, width: int) -> list[Rule]:
    return [
        Rule(f"{path}/scale", (f"{name}.weight",), (width,)),
        Rule(f"{path}/bias", (f"{name}.bias",), (width,)),
    ]
