"""A prompt's beginning that the cache of a language model holds already is not read again.

What the last call left in the cache is kept: of one text all of it, so that a conversation goes on from there; of
several the beginning that they share, an instruction say, which is also read once for all rows of a batch.
"""

import numpy as np

from regard.export.openvino_request import Request
from regard.specs import ModelSpec

WORTH_KEEPING = 16  # tokens; fewer are read anew
_MOST_WASTE = 512  # slots that hold nothing of use, before all is read anew
_NOTHING = np.zeros(0, np.int32)


def can_be_kept(spec: ModelSpec) -> bool:
    """Whether what a cache holds of a text is the same whatever comes after it, or is read beside it."""
    assert spec.decoder is not None
    rotary = spec.decoder.layer.rotary
    return spec.form == "decoder" and (rotary is None or rotary.scaling != "dynamic")  # which turns keys by the length


class PrefixCache:
    """What row 0 of a decoder's cache holds, between two calls."""

    def __init__(self, request: Request, vocab_size: int) -> None:
        self.request, self.vocab_size = request, vocab_size
        self._hold(_NOTHING, _NOTHING)
        self._begun = (_NOTHING, _NOTHING)  # the prompt, where it is one, and the slots of what was known of it

    def _hold(self, text: np.ndarray, real: np.ndarray) -> None:
        self.text = text  # (n,): the tokens
        self.real = real  # (S,): 1 for the slots where they are

    def begin(self, prompt: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Prompts (B, P), padded on the left -> what is left to read of them (B, T), and which slots of the cache, with
        those that it fills, are theirs: (B, S + T)."""
        texts = [ids[mask == 1] for ids, mask in zip(prompt, real, strict=True)]
        shared = texts[0][: _agreement(texts)]
        before = self._kept(shared)
        self._hold(_NOTHING, _NOTHING)  # a call that does not come to its end leaves nothing to go on from
        if len(texts) > 1 and len(shared) - before.sum() >= WORTH_KEEPING:
            before = self._read(shared, before)
        known = int(before.sum())
        self._begun = (texts[0] if len(texts) == 1 else shared[:known], before)
        longest = max(map(len, texts)) - known
        full = np.concatenate([np.tile(before, (len(texts), 1)), real[:, real.shape[1] - longest :]], axis=1)
        for row, text in enumerate(texts):  # the first columns of a shorter text are its beginning
            full[row, len(before) : full.shape[1] - (len(text) - known)] = 0
        return prompt[:, prompt.shape[1] - longest :], full

    def drop(self) -> None:
        """Somebody else fills the cache."""
        self._hold(_NOTHING, _NOTHING)

    def end(self, real: np.ndarray, written: np.ndarray | None) -> None:
        """real (B', S): the slots of the rows at the end. written: what came after the one prompt; None where there
        were several rows or hypotheses, which have their beginning in common."""
        text, before = self._begun
        if written is None:
            self._hold(text[: int(before.sum())], np.pad(before, (0, real.shape[1] - len(before))))
        else:  # whose last token was not read
            self._hold(np.concatenate([text, written])[: int(real[0].sum())], real[0])

    def _kept(self, shared: np.ndarray) -> np.ndarray:
        """(S,): the slots of the cache that hold the beginning of `shared`; none, and an empty cache, where they are
        too few."""
        known = _agreement([self.text, shared], spare=0)
        if known < WORTH_KEEPING or len(self.real) - known > _MOST_WASTE:
            self.request.forget()
            return _NOTHING
        return np.where(np.cumsum(self.real) <= known, self.real, 0).astype(np.int32)

    def _read(self, shared: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Read what is new of `shared` once."""
        known = int(before.sum())
        new = shared[known:].astype(np.int32)
        real = np.concatenate([before, np.ones_like(new)])
        places = np.arange(known, len(shared), dtype=np.int32)
        feed = {"input_ids": new[None], "position_ids": places[None], "attention_mask": real[None]}
        feed |= {"beam_idx": np.zeros(1, np.int32), "bias": np.zeros(self.vocab_size, np.float32)}
        self.request.run({**feed, "count": np.array(1, np.int64), "last": np.array([1], np.int64)})
        return real


def _agreement(texts: list[np.ndarray], spare: int = 1) -> int:
    """How many tokens all texts begin with in common; `spare` of each are left to read."""
    length = max(min(map(len, texts)) - spare, 0)
    same = np.all([text[:length] == texts[0][:length] for text in texts], axis=0)
    return length if same.all() else int(np.argmin(same))
