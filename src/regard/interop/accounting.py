"""Every tensor is accounted for: what a model needs against what a checkpoint has, before any memory is taken."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from regard.interop.opening import StoredWeights
from regard.interop.tensors import DTYPES, Tensors
from regard.models.family import Family
from regard.models.weights import Rule
from regard.specs import ModelSpec


class Named(Mapping[str, np.ndarray]):
    """A checkpoint's tensors under today's names, whatever names its age and its head gave them.

    Older names are renamed by the family's patterns; and a bare model's names may have the prefix that a model with a
    head writes, or lack it, as in Transformers.
    """

    def __init__(self, tensors: StoredWeights, family: Family) -> None:
        self.tensors, self.family = tensors, family
        self.stored = {self._renamed(name): name for name in tensors}

    def _renamed(self, name: str) -> str:
        for pattern, replacement in self.family.renames:
            name = re.sub(pattern, replacement, name)
        return name

    def find(self, name: str) -> str | None:
        """The stored name of a tensor that the model calls `name`."""
        prefix = self.family.prefix
        other = name.removeprefix(prefix) if prefix and name.startswith(prefix) else prefix + name
        return self.stored.get(name, self.stored.get(other))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None

    def __getitem__(self, name: str) -> np.ndarray:
        return self.tensors[self._known(name)]

    def pieces(self, name: str) -> Iterable[np.ndarray]:
        """The tensor's rows, some at a time where the checkpoint is stored so."""
        stored, tensors = self._known(name), self.tensors
        return tensors.pieces(stored) if isinstance(tensors, Tensors) else (tensors[stored],)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors.shape(self._known(name))

    def dtype(self, name: str) -> str | None:
        """As NumPy names it; None for a type that no weight has."""
        return self.tensors.dtype(self._known(name))

    def _known(self, name: str) -> str:
        stored = self.find(name)
        if stored is None:
            raise KeyError(name)
        return stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


class Accounts(NamedTuple):
    """What does not fit."""

    missing: list[str]
    unexpected: list[str]
    misshapen: list[str]  # with both shapes
    mistyped: list[str]

    def complaint(self) -> str:
        """One line; "" where everything fits."""
        listed = (
            _listed("missing", self.missing),
            _listed("unexpected", self.unexpected),
            _listed("of another shape than config.json says", self.misshapen),
            _listed(f"of another type than {', '.join(DTYPES)}", self.mistyped),
        )
        return "; ".join(text for text in listed if text)


def account(spec: ModelSpec, tensors: Named, rules: list[Rule]) -> Accounts:
    """Compare the tensors with what `rules` read."""
    known, stored = tensors.family, tensors.tensors
    expected = {name: shape for rule in rules for name, shape in rule.stored_shapes().items()}
    found = {name: tensors.find(name) for name in expected}
    used = {name for name in found.values() if name is not None}
    aside = [*known.redundant, *(re.escape(name) for name in known.constants(spec))]
    unexpected = [name for name in stored if name not in used]
    return Accounts(
        missing=sorted(name for name, there in found.items() if there is None),
        unexpected=[name for name in unexpected if not any(re.fullmatch(pattern, name) for pattern in aside)],
        misshapen=[
            f"{there} {stored.shape(there)} for {expected[name]}"
            for name, there in sorted(found.items())
            if there is not None and stored.shape(there) != expected[name]
        ],
        mistyped=[name for name in sorted(used) if stored.dtype(name) is None],
    )


def _listed(what: str, names: list[str], most: int = 5) -> str:
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} tensors {what}: {', '.join(names[:most])}{more}"
