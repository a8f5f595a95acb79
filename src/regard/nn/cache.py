"""Keys and values of the tokens decoded so far, which are never copied; and the table that says whose they are.

Every step writes one slot: the newest token of each beam. When beams are reordered the slots stay where they are: a
small table, `owners` (B, W, S), says for each beam and slot which beam's column holds that beam's history, -1 where
nothing is. A query attends to the columns of all beams under the mask that the table gives.
"""

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from regard.nn import kernels
from regard.nn.output import Tensor


class LayerCache(NamedTuple):
    """One layer's keys and values, (B * K, S, W, H) each: S slots of W beams."""

    keys: Tensor
    values: Tensor

    @classmethod
    def begin(cls, keys: Tensor, values: Tensor, free: int, beams: int) -> "LayerCache":
        """A prompt's slots, (B, K, P, H), all in beam 0's column, and `free` slots after them."""
        return cls(_room_after(keys, free, beams), _room_after(values, free, beams))

    def write(self, slot: Tensor, keys: Tensor, values: Tensor) -> "LayerCache":
        """The newest token of each beam, (B, K, W, H), into a slot; or of one beam (B, K, T, H) into slots (T,), in the
        cache's own buffers (`kernels.write_slots`)."""
        rows = ops.shape(self.keys)[0]
        write: Callable[[Tensor, Tensor, Tensor], Tensor] = kernels.write_slot
        shape = (rows, *keys.shape[2:])
        if len(ops.shape(slot)):
            write, shape = kernels.write_slots, (rows, ops.shape(slot)[0], 1, keys.shape[3])  # -> (B*K,T,1,H)
        return LayerCache(
            *(
                write(buffer, slot, ops.reshape(new, shape))
                for buffer, new in ((self.keys, keys), (self.values, values))
            )
        )

    def with_room(self, free: int) -> "LayerCache":
        """With so many free slots more."""
        return LayerCache(*(ops.pad(buffer, ((0, 0), (0, free), (0, 0), (0, 0))) for buffer in self))

    def at_rows(self, rows: Tensor, batch: int) -> "LayerCache":
        """The rows (B',) alone, of `batch`."""
        heads = ops.shape(self.keys)[0] // batch
        places = ops.reshape(rows[:, None] * heads + ops.arange(heads, dtype="int32"), (-1,))
        return LayerCache(*(ops.take(buffer, places, axis=0) for buffer in self))

    def read(self, kv_heads: int) -> tuple[Tensor, Tensor]:
        """All slots of all beams as keys and values: (B, K, S*W, H)."""
        rows, slots, beams, width = ops.shape(self.keys)
        shape = (rows // kv_heads, kv_heads, slots * beams, width)
        return ops.reshape(self.keys, shape), ops.reshape(self.values, shape)


def _room_after(prompt: Tensor, free: int, beams: int) -> Tensor:
    batch, heads, length, width = ops.shape(prompt)
    prompt = ops.reshape(prompt, (batch * heads, length, 1, width))
    return ops.pad(prompt, ((0, 0), (0, free), (0, beams - 1), (0, 0)))  # -> (B*K,S,W,H)


def no_owners(batch: Tensor, beams: int, capacity: int) -> Tensor:
    return ops.full((batch, beams, capacity), -1, dtype="int32")


def reorder_owners(owners: Tensor, parents: Tensor) -> Tensor:
    """Beam w goes on from old beam parents[b, w], so it takes over that beam's row: (B, W, S)."""
    return ops.take_along_axis(owners, parents[:, :, None], axis=1)


def claim_slot(owners: Tensor, slot: Tensor) -> Tensor:
    """Each beam writes this slot in its own column."""
    _, beams, slots = ops.shape(owners)
    own = ops.arange(beams, dtype="int32")[None, :, None]
    return ops.where(ops.arange(slots)[None, None] == slot, own, owners)


def owned_mask(owners: Tensor) -> Tensor:
    """Which beam may attend to which slot and column: (B, W, S) -> (B, 1, W, S*W) boolean."""
    batch, beams, slots = ops.shape(owners)
    columns = ops.arange(beams, dtype="int32")
    owned = owners[:, :, :, None] == columns
    return ops.reshape(owned, (batch, 1, beams, slots * beams))


def column_places(places: Tensor, beams: int) -> Tensor:
    """The places of a cache's slots, once for each column: (B, S) -> (B, S*W), in the order of `LayerCache.read`."""
    return ops.repeat(places, beams, axis=1)
