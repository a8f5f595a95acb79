"""Windows of sound -> token ids, tried again where the text is no good (Radford et al. 2022, section 4.5)."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from regard.batch import Batch
from regard.decoding import numpy_ops
from regard.decoding.options import Generation, GenerationOptions
from regard.decoding.processors import Processors, Rule
from regard.decoding.rows import Rows
from regard.features.tokenizer import Tokenizer
from regard.interop.speech_tokens import SpeechTokens
from regard.specs import ModelSpec
from regard.tasks.probabilities import softmax
from regard.tasks.transcribe_options import TranscribeOptions

if TYPE_CHECKING:  # it comes with Keras, which an exported model does without
    from regard.nn.output import Output

MEMORY = "encoder_last_hidden_state"


class Engine(Protocol):
    """Whatever hears: our model, or an exported one."""

    @property
    def spec(self) -> ModelSpec: ...

    def encode(self, batch: Batch) -> Any:
        """`input_features` (B, A, M) -> the memory (B, S, D)."""
        ...

    def __call__(self, batch: Batch) -> "Output":
        """The logits of `decoder_input_ids` under the memory."""
        ...

    def generate(self, batch: Batch, options: GenerationOptions, *, rule: Rule | None) -> Generation:
        """Go on from `decoder_input_ids` under the memory."""
        ...


class Ask(NamedTuple):
    """What a window's text goes on from, and the seed of its samples."""

    prompt: list[int]
    seed: int


class Heard(NamedTuple):
    """The ids of one window, without eos."""

    ids: list[int]
    finished: bool  # False: cut at max_new_tokens
    temperature: float
    log_probability: float  # nats, the mean over the tokens, eos included, at temperature 1 under the rules
    is_good: bool
    is_speech: bool


@dataclass(frozen=True)
class Hearing:
    """`hearing(memory, asks)`: each window's best text. width: to which prompts are padded, so that one graph serves
    them all."""

    engine: Engine
    tokenizer: Tokenizer
    tokens: SpeechTokens
    base: GenerationOptions
    asked: TranscribeOptions
    width: int

    def __call__(self, memory: NDArray[Any], asks: Sequence[Ask], timestamps: bool) -> list[Heard]:
        """memory: (B, S, D), a row a window. A text is good at the first temperature whose text does not repeat itself
        and is likely enough, or at the last one."""
        rule = self.tokens.rule() if timestamps else None
        heard: dict[int, Heard] = {}
        pending = list(range(len(asks)))
        for attempt, temperature in enumerate(self.asked.temperature):
            again = [asks[row]._replace(seed=asks[row].seed + attempt) for row in pending]
            heard |= zip(pending, self._attempt(memory[pending], again, temperature, rule), strict=True)
            pending = [row for row in pending if heard[row].is_speech and not heard[row].is_good]
            if not pending:
                break
        return [heard[row] for row in range(len(asks))]

    def _attempt(self, memory: NDArray[Any], asks: Sequence[Ask], temperature: float, rule: Rule | None) -> list[Heard]:
        options = self._options(temperature, tuple(ask.seed for ask in asks))
        found = self.engine.generate({MEMORY: memory, **self._prompts(asks)}, options, rule=rule)
        heard = []
        for row, ask in enumerate(asks):
            length = int(np.asarray(found.lengths)[row, 0])
            ids = np.asarray(found.sequences)[row, 0, :length].tolist()
            if temperature:
                scores = self._scores(memory[row : row + 1], ask.prompt, ids, options, rule)
            else:
                assert found.token_scores is not None
                scores = np.asarray(found.token_scores)[row, 0, :length]
            likely = float(scores.mean()) if length else -np.inf
            heard.append(self._judged(memory[row : row + 1], ask.prompt, ids, temperature, likely))
        return heard

    def _options(self, temperature: float, seeds: tuple[int, ...]) -> GenerationOptions:
        """As the checkpoint searches, or a sample of all tokens."""
        if not temperature:
            return self.base.merged(do_sample=False)
        return self.base.merged(do_sample=True, num_beams=1, temperature=temperature, top_k=0, seed=seeds)

    def _prompts(self, asks: Sequence[Ask]) -> Batch:
        ids = np.full((len(asks), self.width), self.tokens.eos, np.int32)
        real = np.zeros_like(ids)
        for row, ask in enumerate(asks):
            ids[row, -len(ask.prompt) :] = ask.prompt
            real[row, -len(ask.prompt) :] = 1
        return {"decoder_input_ids": ids, "decoder_attention_mask": real}

    def _judged(
        self, memory: NDArray[Any], prompt: list[int], ids: list[int], temperature: float, likely: float
    ) -> Heard:
        ended = bool(ids) and ids[-1] in self.base.eos_ids
        ids = ids[:-1] if ended else ids
        asked = self.asked
        is_likely = asked.logprob_threshold is None or likely >= asked.logprob_threshold
        is_speech = True
        if asked.no_speech_threshold is not None and not (is_likely and asked.logprob_threshold is not None):
            is_speech = self._silence(memory, prompt) <= asked.no_speech_threshold
        ratio = asked.compression_ratio_threshold
        repeats = ratio is not None and compression_ratio(self.tokenizer.decode(self.tokens.of_text(ids))) > ratio
        return Heard(ids, ended, temperature, likely, is_likely and not repeats, is_speech)

    def _silence(self, memory: NDArray[Any], prompt: list[int]) -> float:
        """The probability of <|nospeech|> after <|startoftranscript|>; 0 where the model has no such token."""
        if self.tokens.no_speech is None:
            return 0.0
        until = len(prompt) - prompt[::-1].index(self.tokens.start)
        return float(softmax(self._logits(memory, prompt[:until])[-1])[self.tokens.no_speech])

    def _scores(
        self, memory: NDArray[Any], prompt: list[int], ids: list[int], options: GenerationOptions, rule: Rule | None
    ) -> NDArray[np.float64]:
        """The log-probability of each of `ids` at temperature 1, of what the rules allowed: a sample's own scores are
        those at its temperature."""
        logits = self._logits(memory, [*prompt, *ids])[len(prompt) - 1 : -1]
        plain = options.merged(do_sample=False, temperature=1.0)
        process = Processors(plain, Rows(prompt=np.array([prompt], np.int32)), numpy_ops, rule)
        so_far = np.full((1, 1, len(ids) + 1), -1, np.int32)
        scores = np.zeros(len(ids))
        for step, token in enumerate(ids):
            allowed = process(logits[None, None, step], so_far, np.int32(step))[0, 0]
            scores[step] = numpy_ops.log_softmax(allowed)[token]
            so_far[0, 0, step] = token
        return scores

    def _logits(self, memory: NDArray[Any], ids: list[int]) -> NDArray[np.float32]:
        """(T, V): after each of the ids, of one row."""
        output = self.engine({MEMORY: memory, "decoder_input_ids": np.array([ids], np.int32)})
        logits: NDArray[np.float32] = np.asarray(output.logits, np.float32)[0]
        return logits


def compression_ratio(text: str) -> float:
    """The bytes of a text over those that zlib makes of them: high where it repeats itself."""
    content = text.encode()
    return len(content) / len(zlib.compress(content))
