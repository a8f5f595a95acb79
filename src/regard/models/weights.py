"""How a checkpoint's tensors become ours: one rule a variable, and each rule works in both directions."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Layout = Literal["same", "transposed", "patches", "frames"]


class StoredTensors(Protocol):
    """The tensors of a checkpoint, which are on disk until one is asked for."""

    def __contains__(self, name: object) -> bool: ...

    def __getitem__(self, name: str) -> np.ndarray: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor that is there; nothing is read."""
        ...


@dataclass(frozen=True)
class Rule:
    """Our variable at `path` is made of `names`, tensors of the checkpoint, side by side on `axis`."""

    path: str
    names: tuple[str | None, ...]  # None: a part that the checkpoint has no tensor for, for it is zero
    shape: tuple[int, ...]  # of our variable
    layout: Layout = "same"  # transposed: the checkpoint stores (out, in), we (in, out); or a convolution's kernel
    widths: tuple[int, ...] = ()  # each part's size on `axis`; (): equal sizes
    axis: int = -1
    stored: tuple[int, ...] = ()  # each part's shape in the checkpoint, where it is no matter of layout
    copies: tuple[str, ...] = ()  # other names that a lone part is written under as well, and not read

    def parts(self) -> list[tuple[int, ...]]:
        """The shape of each part of our variable."""
        if len(self.names) == 1:
            return [self.shape]
        widths = self.widths or (self.shape[self.axis] // len(self.names),) * len(self.names)
        axis = self.axis % len(self.shape)
        return [(*self.shape[:axis], width, *self.shape[axis + 1 :]) for width in widths]

    def stored_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each of the checkpoint's tensors."""
        shapes = {}
        for name, shape in zip(self.names, self.parts(), strict=True):
            if name is not None:
                shapes[name] = self.stored or (shape[::-1] if self.layout == "transposed" else shape)
        return shapes

    def join(self, tensors: list[np.ndarray | None]) -> np.ndarray:
        """The checkpoint's tensors, in the order of `names` -> our variable."""
        dtype = next(tensor.dtype for tensor in tensors if tensor is not None)
        found = [
            np.zeros(shape, dtype) if tensor is None else self._ours(tensor, shape)
            for tensor, shape in zip(tensors, self.parts(), strict=True)
        ]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=self.axis)

    def fill(self, ours: np.ndarray, pieces: Callable[[str], Iterable[np.ndarray]]) -> None:
        """`join`, into an array that is there. pieces: a tensor's rows, some at a time, so that the whole of it need
        not be in memory beside ours."""
        start, axis = 0, self.axis % max(ours.ndim, 1)
        for name, shape in zip(self.names, self.parts(), strict=True):
            stop = start + shape[axis] if shape else 0
            part = ours[(slice(None),) * axis + (slice(start, stop),)] if len(self.names) > 1 else ours
            start = stop
            if name is None:
                part[...] = 0
            elif self.layout in ("same", "transposed") and not self.stored and shape:
                _fill_rows(part.T if self.layout == "transposed" else part, pieces(name))
            else:
                part[...] = self._ours(np.concatenate(list(pieces(name))) if shape else next(iter(pieces(name))), shape)

    def split(self, variable: np.ndarray) -> dict[str, np.ndarray]:
        """Our variable -> the checkpoint's tensors."""
        parts = [variable]  # which may be a scalar
        if len(self.names) > 1:
            parts = np.split(variable, np.cumsum([shape[self.axis] for shape in self.parts()])[:-1], axis=self.axis)
        names, parts = (*self.names, *self.copies), parts + parts * len(self.copies)
        named = zip(names, parts, strict=True)
        return {name: np.asarray(self._theirs(part), order="C") for name, part in named if name is not None}

    def _ours(self, tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        if self.layout == "transposed":
            return tensor.T
        if self.layout == "patches":  # (D, C, height, width): ours reads a patch row by row, its channels innermost
            tensor = tensor.transpose(2, 3, 1, 0)
        if self.layout == "frames":  # (D, M, 3)
            tensor = tensor.transpose(2, 1, 0)
        return tensor.reshape(shape)

    def _theirs(self, part: np.ndarray) -> np.ndarray:
        if self.layout == "transposed":
            return part.T
        if self.layout == "patches":
            width, channels, *window = self.stored
            return part.reshape(*window, channels, width).transpose(3, 2, 0, 1)
        if self.layout == "frames":
            width, mels, window_length = self.stored
            return part.reshape(window_length, mels, width).transpose(2, 1, 0)
        return part.reshape(self.stored) if self.stored else part


def _fill_rows(array: np.ndarray, pieces: Iterable[np.ndarray]) -> None:
    row = 0
    for piece in pieces:
        array[row : row + len(piece)] = piece
        row += len(piece)


def linear(
    path: str, names: tuple[str, ...], in_width: int, *widths: int, bias: bool | tuple[bool, ...] = True
) -> list[Rule]:
    """A torch `Linear`, or several that we hold side by side: weight (out, in) and bias.

    widths: one for all, or one each. bias: where only some have one, ours is zero for the others.
    """
    out = widths if len(widths) == len(names) else widths * len(names)
    kernel_names = tuple(f"{name}.weight" for name in names)
    kernel = Rule(f"{path}/kernel", kernel_names, (in_width, sum(out)), "transposed", out)
    biased = bias if isinstance(bias, tuple) else (bias,) * len(names)
    if not any(biased):
        return [kernel]
    bias_names = tuple(f"{name}.bias" if there else None for name, there in zip(names, biased, strict=True))
    return [kernel, Rule(f"{path}/bias", bias_names, (sum(out),), widths=out)]


def norm(path: str, name: str, width: int, kind: Literal["layer", "rms"] = "layer") -> list[Rule]:
    scale = Rule(f"{path}/scale", (f"{name}.weight",), (width,))
    return [scale] if kind == "rms" else [scale, Rule(f"{path}/bias", (f"{name}.bias",), (width,))]


def table(path: str, name: str, rows: int, width: int) -> Rule:
    """A torch `Embedding`: (rows, width)."""
    return Rule(path, (name,), (rows, width))


def same(tensors: StoredTensors, name: str, other: str) -> bool:
    """Whether two tensors are equal; one that is not there equals nothing."""
    if name not in tensors or other not in tensors or tensors.shape(name) != tensors.shape(other):
        return False
    return np.array_equal(tensors[name], tensors[other])
