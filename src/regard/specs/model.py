"""A whole network: stems, stacks, a head."""

from dataclasses import dataclass, replace
from typing import Literal

from regard.errors import ConfigError, InputError
from regard.specs.checks import require_at_most, require_count, require_flag, require_positive, require_rate
from regard.specs.layers import Activation, StackSpec
from regard.specs.stems import AudioSpec, EmbeddingSpec, PatchSpec

HeadKind = Literal["hidden", "pooled", "language", "masked_language", "sequence_class", "token_class", "span", "ctc"]
Problem = Literal["regression", "single_label", "multi_label"]
Form = Literal["encoder", "decoder", "encoder-decoder", "pair"]

MOST_LABELS = 2**20


@dataclass(frozen=True)
class TokenIds:
    """The ids with a meaning of their own. `decoder_start` is what an encoder-decoder's decoder reads first."""

    pad: int | None = None
    eos: int | tuple[int, ...] | None = None
    bos: int | None = None
    decoder_start: int | None = None

    def named(self) -> list[tuple[str, int]]:
        """Each id that there is, with its role."""
        found = [(name, value if isinstance(value, tuple) else (value,)) for name, value in vars(self).items()]
        return [(name, token) for name, tokens in found for token in tokens if token is not None]


@dataclass(frozen=True)
class HeadSpec:
    """What stands on the last hidden states.

    "hidden" is nothing, or BERT's pooler where `dense` is set; "pooled" is CLIP's way to one vector: a token, a norm
    and a projection; "language" predicts tokens with the embedding's table or one of its own; "masked_language" has a
    dense layer and a norm before that; the classes read one vector, the tags each token, and "span" says for each token
    how likely an answer begins and ends there. "ctc" says for each frame which token is spoken, or none (Graves et al.
    2006): its `labels` are the vocabulary, and the padding's token stands for none.
    """

    kind: HeadKind = "hidden"
    labels: int = 0  # how many: the classes, the tags, ctc's tokens
    dense: Activation | None = None  # a layer of the model's own width before, with this activation
    width: int | None = None  # hidden: of the pooler, None as the model; pooled: of the projection, None without one
    norm: bool = False  # pooled: a layer norm on the token that is read
    bias: bool = False  # of the last projection; masked_language: on its logits
    tied: bool = True  # language, masked_language: the embedding's table predicts, too
    scale: float = 1.0  # language: of the hidden states before the table
    norm_epsilon: float = 1e-5  # masked_language, pooled
    # The tokens that are read. sequence_class: of two, the mean; pooled: the first, the first that is `token`, or the
    # one of the highest id.
    pool: Literal["first", "last", "first two", "token", "highest"] = "first"
    token: int | None = None  # pooled; not in the vocabulary of some checkpoints, where the first one is read
    problem: Problem | None = None  # sequence_class; None: told from the labels, as Transformers does
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require_count("head", labels=self.labels)
        require_at_most("head", "labels", self.labels, MOST_LABELS)
        require_rate("head", dropout=self.dropout)
        require_flag("head", norm=self.norm)
        if self.width is not None:
            require_positive("head", width=self.width)
        if self.pool == "token":
            require_count("head", token=self.token)  # type: ignore[arg-type]  # None is refused as well
        if self.kind in ("sequence_class", "token_class", "ctc") and not self.labels:
            raise ConfigError(f"head: a {self.kind} head needs labels of at least 1, but has 0")

    @property
    def predicts_tokens(self) -> bool:
        return self.kind in ("language", "masked_language")


@dataclass(frozen=True)
class ModelSpec:
    """A whole network: `encoder` alone, `decoder` alone, or both."""

    family: str  # the key in models.catalog; only interop and catalog read it
    embedding: EmbeddingSpec | None  # None: nothing reads or predicts tokens
    tokens: TokenIds = TokenIds()
    encoder: StackSpec | None = None
    decoder: StackSpec | None = None
    source: PatchSpec | AudioSpec | None = None  # what the encoder reads; None: tokens
    head: HeadSpec | None = None  # None: language where there is a decoder, else hidden
    logits_bias: bool = False  # a stored, untrained bias on the logits (Marian's final_logits_bias)
    shared_embedding: bool = True  # encoder and decoder read tokens through one table; else each through its own
    source_vocab_size: int | None = None  # of the encoder's own table; None: the vocabulary is the decoder's
    start_from_labels: bool = False  # the decoder is trained to start from the last label (mBART's language code)
    encoder_pooler: HeadSpec | None = None  # a pooler that an encoder brought along and no decoder reads: kept, unused

    def __post_init__(self) -> None:
        if self.encoder is None and self.decoder is None:
            raise ConfigError("model: needs an encoder, a decoder or both, but has neither")
        if self.head is None:
            object.__setattr__(self, "head", HeadSpec("hidden" if self.decoder is None else "language"))
        if self.decoder is None and self.output.kind == "language":
            raise ConfigError("model: a language head needs a decoder, but there is an encoder alone")
        if self.output.kind == "ctc" and (self.decoder is not None or self.tokens.pad not in range(self.output.labels)):
            raise ConfigError("model: a ctc head needs an encoder alone, and tokens.pad among its labels")
        if self.source is not None and self.encoder is None:
            raise ConfigError("model: patches and audio are read by an encoder, but there is none")
        self._check_widths()
        if self.decoder is not None and self.decoder.layer.cross_attention != (self.encoder is not None):
            raise ConfigError("model: the decoder has cross_attention exactly where there is an encoder")
        if self.encoder is not None and self.decoder is not None and self.tokens.decoder_start is None:
            raise ConfigError("model: an encoder-decoder needs tokens.decoder_start")
        self._check_tokens()
        self._check_vocabularies()

    def _check_widths(self) -> None:
        read = [("encoder", self.encoder, self.source or self.embedding), ("decoder", self.decoder, self.embedding)]
        for name, stack, stem in read:
            if stack is None:
                continue
            if stem is None:
                raise ConfigError(f"model: the {name} reads tokens, but there is no embedding")
            if stack.layer.width != stem.width:
                raise ConfigError(
                    f"model: the {name}'s width must equal the embedding's ({stem.width}), but is {stack.layer.width}"
                )

    def _check_tokens(self) -> None:
        if self.embedding is None:
            return
        if self.tokens.pad != self.embedding.pad_id:
            raise ConfigError(
                f"model: tokens.pad must be embedding.pad_id ({self.embedding.pad_id}), but is {self.tokens.pad}"
            )
        for name, token in self.tokens.named():
            if type(token) is not int or not 0 <= token < self.embedding.vocab_size:
                raise ConfigError(
                    f"model: tokens.{name} must be an id below vocab_size ({self.embedding.vocab_size}), "
                    f"but is {token!r}"
                )

    def _check_vocabularies(self) -> None:
        if self.source_vocab_size is None:
            return
        require_positive("model", source_vocab_size=self.source_vocab_size)
        if self.shared_embedding or self.form != "encoder-decoder":
            raise ConfigError("model: source_vocab_size is for encoder-decoders whose sides share no table")
        pad = self.tokens.pad
        if pad is not None and pad >= self.source_vocab_size:
            raise ConfigError(
                f"model: tokens.pad must be below source_vocab_size ({self.source_vocab_size}), but is {pad}"
            )

    @property
    def form(self) -> Form:
        if self.encoder is None:
            return "decoder"
        return "encoder" if self.decoder is None else "encoder-decoder"

    @property
    def text(self) -> EmbeddingSpec:
        """The embedding, of a model that has one. Raises InputError for one that reads images alone."""
        if self.embedding is None:
            raise InputError(f"this {self.family} model reads no tokens")
        return self.embedding

    @property
    def vocab_size(self) -> int:
        """How many tokens it reads or predicts. Raises InputError as `text` does."""
        return self.output.labels if self.output.kind == "ctc" else self.text.vocab_size

    @property
    def source_text(self) -> EmbeddingSpec:
        """The embedding that the encoder reads: `text`, but for the size of the vocabulary where it has its own."""
        own = self.source_vocab_size
        return self.text if own is None else replace(self.text, vocab_size=own)

    @property
    def output(self) -> HeadSpec:
        """`head`, which `__post_init__` has filled in."""
        assert self.head is not None
        return self.head
