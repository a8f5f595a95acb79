"""A language model that writes what the test says, through the real search, on NumPy."""

from dataclasses import dataclass, field

import numpy as np

from regard.config import TokenizerConfig
from regard.decoding import numpy_ops
from regard.decoding.loop import Search
from regard.decoding.options import GenerationOptions
from regard.features.tokenizer import Tokenizer
from regard.models.catalog import spec as spec_of
from regard.models.family import Config
from regard.models.llama import from_config

CORPUS = ["the quick brown fox jumps over the lazy dog", "ein kleiner Hund, eine Katze. Noch ein Satz!", "天气很好。😀"]
TAGS = (">>user<<", ">>model<<", ">>end<<")  # special tokens for chats
LLAMA = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}


def tokenizer_of(**config) -> Tokenizer:
    """Byte-level pieces, an eos after each text; `config` goes into tokenizer_config.json."""
    trained = Tokenizer.train(CORPUS * 3, TokenizerConfig(vocab_size=300), TAGS)
    roles = {f"{role}_token": token for role, token in trained.special_tokens.items()}
    return Tokenizer(trained.content, {**roles, **config})


def llama_config(tokenizer: Tokenizer, positions: int = 64) -> dict:
    ids = {"eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id, "bos_token_id": None}
    sizes = {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": positions, **LLAMA}
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **sizes, **ids}


@dataclass
class Script:
    """An engine: after a prompt whose text ends in a key of `answers` it writes that answer, and then eos for good.
    The second best token of each step is the one of `other`."""

    tokenizer: Tokenizer
    answers: dict
    positions: int = 64
    writes: str = "llama"
    other: str = "?"
    calls: list = field(default_factory=list)

    @property
    def spec(self):
        if self.writes == "llama":
            return from_config(Config(llama_config(self.tokenizer, self.positions)))
        ids = {"vocab_size": self.tokenizer.vocab_size, "pad_id": self.tokenizer.pad_id, "eos_id": 0}
        return spec_of("tiny", **ids, max_positions=self.positions)

    def generate(self, batch, options, *, trie=None, stops=None):
        search, state = self._begun(batch, options, trie=trie, stops=stops)
        return search.result(search.run(state))

    def generate_stream(self, batch, options, *, stops=None):
        search, state = self._begun(batch, options, stops=stops)
        step, more = 0, True
        while more:
            step += 1
            state = search.run(state, np.array(step))
            more = search.is_open(state)
            yield search.result(state)

    def _begun(self, batch, options, trie=None, stops=None):
        self.calls.append((batch, options))
        rows = [ids[real == 1].tolist() for ids, real in zip(*batch.values(), strict=True)]
        script = np.full((len(rows), options.max_new_tokens + 1), self.tokenizer.eos_id, np.int32)
        for row, ids in enumerate(rows):
            text = self.tokenizer.decode(ids)
            answer = next((written for end, written in self.answers.items() if text.endswith(end)), "")
            written = self.tokenizer.encode_plain(answer, parse_special=True)[: options.max_new_tokens]
            script[row, : len(written)] = written
        second = self.tokenizer.encode_plain(self.other)[0]

        def step(ids, parents, state):
            place, script = state
            logits = np.zeros((*ids.shape, self.tokenizer.vocab_size), np.float32)
            logits[..., second] = 4.0
            np.put_along_axis(logits, np.broadcast_to(script[:, place, None, None], (*ids.shape, 1)), 8.0, axis=-1)
            return logits, (place + 1, script)

        search = Search(step, options, numpy_ops)
        given = {"prompt": batch["input_ids"], "prompt_mask": batch["attention_mask"]}
        given |= {"trie": trie, "stops": stops, "seeds": options.row_seeds(len(rows))}
        start = np.repeat(np.array([ids[-1:] for ids in rows], np.int32), options.width, axis=1)
        return search, search.start((0, script), start, **given)


def defaults(tokenizer: Tokenizer, **options) -> GenerationOptions:
    ids = {"eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    return GenerationOptions(**{**ids, "max_new_tokens": 32, **options})
