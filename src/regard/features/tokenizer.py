"""Text <-> token ids: the tokenizers of all families, loaded as their directories hold them, or trained here.

Special tokens are ids, never text, unless the caller says that a text is one of templates and marks (`parse_special`):
a user who types `</s>` gets ordinary pieces.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from regard.errors import CheckpointError, InputError
from regard.features import tokenizer_training
from regard.features.encoding import Encoding, Side
from regard.features.sentencepiece_model import TAG, PieceEngine
from regard.features.text_stream import Finish, TextStream
from regard.features.tokenizer_engine import RustEngine
from regard.features.tokenizer_families import ROLES, family_of, token_text, with_roles
from regard.features.tokenizer_files import CONFIG, TOKENIZER, find, is_wrapped
from regard.features.tokenizer_training import SURROGATE

if TYPE_CHECKING:  # which reading a text does without, and pydantic takes as long to import as all the rest
    from regard.config import TokenizerConfig

__all__ = ["Encoding", "TextStream", "Tokenizer"]

Role = Literal["bos", "eos", "unk", "sep", "pad", "cls", "mask"]
_LONGEST = 1_000_000  # what a config has above this stands for "no bound"
# A language as the families spell it: M2M-100, mBART, NLLB, Marian; and Whisper.
_LANGUAGE = re.compile(r"__([a-z]{2,4})__|([a-z]{2,3}_[A-Z]{2})|([a-z]{3}_[A-Z][a-z]{3})|>>([A-Za-z0-9][\w.-]*)<<")
_SPOKEN_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
_PROMPT, _TRANSCRIPT = "<|startofprev|>", "<|startoftranscript|>"


class Tokenizer:
    """A family's tokenizer, equal to Transformers' for ids and text. It never truncates unless asked, never pads.

    vocab_size: the highest id + 1. eos_id, bos_id, unk_id, pad_id, cls_id, sep_id, mask_id: None where the family has
    no such token; `id_of` raises there. max_length: how many tokens the model was made for, if the files say so; it is
    for the caller to act on.
    """

    def __init__(
        self,
        content: bytes,
        config: Mapping[str, Any],
        origin: str = "tokenizer",
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """`content` is the bytes of a tokenizer.json, `config` those of its tokenizer_config.json, parsed; `files` the
        bytes of the files that `save` writes, if they are others.

        Raises CheckpointError where they are not usable, or the config names a token that the vocabulary lacks.
        """
        self._content, self._config, self._origin, self._files = content, dict(config), origin, dict(files or {})
        filled = with_roles(config)
        self._engine: RustEngine | PieceEngine = (
            PieceEngine(self._files, filled, origin) if is_wrapped(self._files) else RustEngine(content, filled, origin)
        )
        self.vocab_size: int = self._engine.size
        self.special_tokens: dict[str, str] = _role_tokens(config, filled, self._engine, origin)
        ids = {role: self._engine.token_id(token) for role, token in self.special_tokens.items()}
        self.eos_id, self.bos_id, self.unk_id, self.pad_id = (ids.get(role) for role in ("eos", "bos", "unk", "pad"))
        self.cls_id, self.sep_id, self.mask_id = (ids.get(role) for role in ("cls", "sep", "mask"))
        self.max_length = _max_length(config, origin)
        self.finish = _finish(config, self._engine)
        self._side: Side = "left" if config.get("truncation_side") == "left" else "right"

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read a tokenizer.json, or the tokenizer of a model directory; CheckpointError where there is none.

        A directory's is, in this order, tokenizer.json, vocab.txt, vocab.json with merges.txt, a SentencePiece model,
        or such models with a vocab.json.
        """
        return cls(*find(Path(path)))

    @classmethod
    def train(cls, lines: Iterable[str], config: "TokenizerConfig", tags: Sequence[str] = ()) -> "Tokenizer":
        """Learn the pieces from `lines` (source and target together).

        The vocabulary has exactly `config.vocab_size` ids where the lines can fill it; fewer otherwise, with a warning.
        Equal lines give equal bytes with bpe; unigram's trainer may break near-ties otherwise in another process, and
        holds all lines in memory.
        """
        return cls(*tokenizer_training.train(lines, config, tags))

    def save(self, directory: str | Path) -> None:
        """Write the files that it was loaded from, and a tokenizer.json, which Transformers loads too."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        config = json.dumps(self._saved_config(), indent=2, ensure_ascii=False) + "\n"
        made = {} if is_wrapped(self._files) else {TOKENIZER: self._content}
        for name, content in {**made, CONFIG: config.encode(), **self._files}.items():
            (directory / name).parent.mkdir(exist_ok=True)  # chat_templates
            (directory / name).write_bytes(content)

    def encode(
        self, text: str, tag: str | None = None, *, source_lang: str | None = None, parse_special: bool = False
    ) -> list[int]:
        """The ids of a text with the special tokens that the family puts around it.

        tag: a language tag such as >>de<< (Marian), whose id comes first. source_lang: the language of the text, where
        the family says it (mBART's en_XX, NLLB's eng_Latn, M2M-100's en); default: the config's, or English.
        parse_special: special tokens that the text spells are found, as Transformers does.
        Lone surrogates, which are no characters, become U+FFFD. An unknown tag or language is an InputError.
        """
        ids = self._encoded([text], source_lang, parse_special)[0]
        return ids if tag is None else [self._known_tag(tag), *ids]

    def encode_batch(
        self, texts: Sequence[str], *, source_lang: str | None = None, parse_special: bool = False
    ) -> list[list[int]]:
        """`encode` of each text, in parallel threads."""
        return self._encoded(texts, source_lang, parse_special)

    def encode_plain(self, text: str, *, parse_special: bool = False) -> list[int]:
        """The ids of a text with nothing around it."""
        return self._engine.ids([_clean(text)], False, parse_special)[0]

    def encode_target(self, text: str, target_lang: str | None = None) -> list[int]:
        """The ids that a translation model learns to write: Marian cuts them by the target's model.

        target_lang: as `encode`'s source_lang.
        """
        if not isinstance(self._engine, PieceEngine):
            return self.encode(text, source_lang=target_lang)
        first, last = self._frame(target_lang) or ((), ())
        return [*first, *self._engine.ids([_clean(text)], False, False, target=True)[0], *last]

    def encode_text(
        self,
        text: str,
        *,
        max_length: int | None = None,
        source_lang: str | None = None,
        parse_special: bool = False,
    ) -> Encoding:
        """`encode` with the characters that each token is of. Given `max_length`, the text is cut to so many tokens,
        and `Encoding.cut` says how many are missing."""
        encoding = self._encoding(text, None, source_lang, parse_special)
        return encoding if max_length is None else encoding.shortened(max_length, self._side)

    def encode_pair(
        self, first: str, second: str, *, max_length: int | None = None, parse_special: bool = False
    ) -> Encoding:
        """Two texts as one input, as models of pairs take them. Given `max_length`, the longer one is cut first.

        For a long second text, which is not to be cut, see `windows`.
        """
        encoding = self._encoding(first, second, None, parse_special)
        return encoding if max_length is None else encoding.shortened(max_length, self._side)

    def windows(self, first: str, second: str, *, max_length: int, stride: int) -> list[Encoding]:
        """`encode_pair` with as much of the second text as fits, as often as it takes to have all of it; neighbours
        share `stride` tokens. Raises InputError where the first text leaves no room."""
        return self._encoding(first, second, None, False).windows(max_length, stride)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids; special tokens are left out. For a byte-level tokenizer, and for one that Regard
        trained, `decode(encode(text)) == normalise(text)`."""
        return self.finish(self.joined(self.visible([int(i) for i in ids])))

    def stream(self) -> TextStream:
        """`decode` for ids that come one by one."""
        return TextStream(self)

    def visible(self, ids: Sequence[int]) -> list[int]:
        """The ids that are of the text: without special tokens, and without the prompt that Whisper was given."""
        if self._prompt is not None and len(ids) > 0 and ids[0] == self._prompt[0]:
            ids = ids[ids.index(self._prompt[1]) :] if self._prompt[1] in ids else []
        return [i for i in ids if self.is_visible(i)]

    def is_visible(self, token_id: int) -> bool:
        return token_id not in self._engine.special_ids

    def is_unsettled(self, token_id: int) -> bool:
        """Whether the text of this id hangs on what follows: a byte is a part of a character, or wrong."""
        return token_id in self._engine.held_ids

    def joined(self, ids: Sequence[int]) -> str:
        """The text of the ids, none left out, before spaces are put right."""
        return self._engine.decode(ids)

    def normalise(self, text: str) -> str:
        """What a text becomes before it is cut into pieces."""
        return self._engine.normalise(_clean(text))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Readable pieces, one an id: spaces show as ▁, parts of a character as \\xe4\\xbd."""
        return [self._readable(int(i)) for i in ids]

    def pieces(self) -> list[str | bytes]:
        """What each id adds to a text that goes on, as `stop_strings_table` takes it: bytes where it may be a part of a
        character, and a special token as it is spelled."""
        before = self.encode_plain("a")[-1:]
        known = len(self.joined(before))
        return [self._piece(token_id, before, known) for token_id in range(self.vocab_size)]

    def token_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary spells it; None where it has no such token."""
        return self._engine.token_id(token)

    def id_of(self, role: Role) -> int:
        """The id of a special token that the caller cannot do without; CheckpointError where there is none."""
        token = self.special_tokens.get(role)
        if token is None:
            raise CheckpointError(f"{self._origin} has no {role}_token, which is needed here")
        return self._engine.token_id(token) or 0

    @property
    def end_id(self) -> int | None:
        """What ends a text that is written: eos, or sep, which is what the tokenizers of encoders have."""
        return self.sep_id if self.eos_id is None else self.eos_id

    def tag_id(self, tag: str) -> int | None:
        """The id of a language tag such as `>>de<<`; None where the tokenizer has no such tag."""
        return self._engine.token_id(tag) if TAG.fullmatch(tag) else None

    @cached_property
    def control_tokens(self) -> list[str]:
        """The special tokens, by id."""
        tokens = (self._engine.token(i) for i in sorted(self._engine.special_ids))
        return [token for token in tokens if token is not None]

    @property
    def tags(self) -> list[str]:
        """The language tags, by id."""
        return [token for token in self.control_tokens if TAG.fullmatch(token)]

    @cached_property
    def languages(self) -> dict[str, int]:
        """The languages that the tokenizer has tokens for, as the family spells them, and their ids."""
        found = {}
        for token in self.control_tokens:
            spoken = _SPOKEN_LANGUAGE.fullmatch(token) if self._prompt is not None else None
            match = _LANGUAGE.fullmatch(token) or spoken
            if match is not None:
                found[next(filter(None, match.groups()))] = self._engine.token_id(token) or 0
        return found

    def language_id(self, code: str) -> int:
        """The id of a language's token; InputError, naming the nearest language, where the tokenizer has none."""
        if code in self.languages:
            return self.languages[code]
        if not self.languages:
            raise InputError(f"the language {code} cannot be said: the tokenizer {self._origin} knows no languages")
        like = [known for known in self.languages if known.split("_")[0] == re.split("[-_]", code)[0].lower()]
        near = like or get_close_matches(code, self.languages, n=3, cutoff=0.0)
        raise InputError(f"the tokenizer has no language {code}: the nearest of its {len(self.languages)} is {near[0]}")

    @property
    def chat_templates(self) -> dict[str, str]:
        """The chat templates by name; a single one is "default". See `regard.features.chat`."""
        from regard.features.chat import chat_templates  # and with it Jinja, which nothing else here needs

        return chat_templates(self._config, self._origin)

    def with_chat_template(self, template: str) -> "Tokenizer":
        """The same, but for its chat template, which takes the place of all that it had."""
        files = {name: content for name, content in self._files.items() if not name.startswith("chat_template")}
        config = {**self._saved_config(), "chat_template": template}
        return Tokenizer(self._content, config, self._origin, {n: c for n, c in files.items() if n != CONFIG})

    @property
    def algorithm(self) -> str:
        """BPE, Unigram, WordPiece, WordLevel, or SentencePiece (which cuts by its own means)."""
        return self._engine.algorithm

    @property
    def content(self) -> bytes:
        """The bytes of tokenizer.json."""
        return self._content

    @property
    def content_hash(self) -> str:
        """SHA-256 of the bytes of tokenizer.json."""
        return hashlib.sha256(self._content).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self._content, self._config, self._origin, self._files)

    def _encoded(self, texts: Sequence[str], source_lang: str | None, parse_special: bool) -> list[list[int]]:
        frame = self._frame(source_lang)
        first, last = frame or ((), ())
        plain = self._engine.ids([_clean(text) for text in texts], frame is None, parse_special)
        return plain if frame is None else [[*first, *ids, *last] for ids in plain]

    def _encoding(self, first: str, second: str | None, source_lang: str | None, parse_special: bool) -> Encoding:
        frame = self._frame(source_lang)
        texts = _clean(first), None if second is None else _clean(second)
        encoding = self._engine.encoding(*texts, frame is None, parse_special)
        return encoding if frame is None else encoding.framed(*frame)

    def _frame(self, language: str | None) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """The ids before and after a text; None where they stand in tokenizer.json."""
        family = family_of(self._config)
        eos = () if self.eos_id is None else (self.eos_id,)
        if family.place is None:
            if language is not None:
                raise InputError(f"source_lang is {language}, but the tokenizer says no language beside a text")
            return ((), eos) if isinstance(self._engine, PieceEngine) else None
        code = (self.language_id(language or self._config.get("src_lang") or family.language or ""),)
        legacy = bool(self._config.get("legacy_behaviour"))  # NLLB's first release
        return ((), (*eos, *code)) if family.place == "last" or legacy else (code, eos)

    @cached_property
    def _prompt(self) -> tuple[int, int] | None:
        """The ids that begin a prompt and a transcript, of Whisper's tokenizers alone."""
        ids = self._engine.token_id(_PROMPT), self._engine.token_id(_TRANSCRIPT)
        return None if ids[0] is None or ids[1] is None else (ids[0], ids[1])

    def _saved_config(self) -> dict[str, Any]:
        roles = {f"{role}_token": token for role, token in self.special_tokens.items()}
        return self._config or {"tokenizer_class": "PreTrainedTokenizerFast", **roles}

    def _known_tag(self, tag: str) -> int:
        tag_id = self.tag_id(tag)
        if tag_id is None:
            known = ", ".join(self.tags) or "none"
            raise InputError(f"the tokenizer has no language tag {tag}: it knows {known}")
        return tag_id

    def _piece(self, token_id: int, before: list[int], known: int) -> str | bytes:
        """What it adds to the text of `before`, which has `known` characters."""
        piece = self._engine.token(token_id)
        if piece is None or not self.is_visible(token_id):
            return piece or ""
        if self.is_unsettled(token_id):
            return bytes([int(piece[3:5], 16)])  # <0xE4>
        raw = self._bytes(piece)
        return self.joined([*before, token_id])[known:] if raw is None else raw

    def _readable(self, token_id: int) -> str:
        piece = self._engine.token(token_id)
        if piece is None:
            return f"<{token_id}?>"
        raw = self._bytes(piece) if self.is_visible(token_id) else None
        return (piece if raw is None else raw.decode("utf-8", "backslashreplace")).replace(" ", "▁")

    def _bytes(self, piece: str) -> bytes | None:
        """Those that a piece of byte-level BPE stands for; None for an added token, which is text there too, and for
        the pieces of others."""
        if not self._engine.is_byte_level or not _BYTE_OF_CHARACTER.keys() >= set(piece):
            return None
        return bytes(_BYTE_OF_CHARACTER[character] for character in piece)


def _clean(text: str) -> str:
    return SURROGATE.sub("\ufffd", text)


def _role_tokens(
    config: Mapping[str, Any], filled: Mapping[str, Any], engine: RustEngine | PieceEngine, origin: str
) -> dict[str, str]:
    """The special tokens by role. One that the config names must be there; the family's own may be absent."""
    found = {}
    for role in ROLES:
        token = token_text(filled.get(f"{role}_token"))
        if token is not None and engine.token_id(token) is not None:
            found[role] = token
        elif token is not None and f"{role}_token" in config:
            raise CheckpointError(f"{origin} has no {role}_token: {token!r} is not in its vocabulary")
    return found


def _max_length(config: Mapping[str, Any], origin: str) -> int | None:
    length = config.get("model_max_length")
    if length is None:
        return None
    if isinstance(length, bool) or not isinstance(length, int | float) or not length > 0:
        raise CheckpointError(f"{origin}: model_max_length must be a number above 0, but is {length!r}")
    return None if length > _LONGEST else int(length)


def _finish(config: Mapping[str, Any], engine: RustEngine | PieceEngine) -> Finish:
    """What Transformers does to a decoded text. It spares byte pairs, whose spaces are the text's own, the clean-up."""
    forced = bool(config.get("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"))
    return Finish(
        word_end=engine.word_end,
        timestamps=engine.token_id(_TRANSCRIPT) is not None,
        clean_up=bool(config.get("clean_up_tokenization_spaces")) and (engine.algorithm != "BPE" or forced),
        strip=bool(engine.word_end) or isinstance(engine, PieceEngine),
    )


def _byte_alphabet() -> dict[str, int]:
    """Byte-level BPE's printable character of each byte (Radford et al. 2019): itself, or one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF_CHARACTER = _byte_alphabet()
