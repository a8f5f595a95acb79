"""The keys of a Batch, their shapes and dtypes: the one vocabulary between data, models and tasks.

B batch, S source or prompt length, T target length.
"""

from typing import Any, NamedTuple

Batch = dict[str, Any]  # key -> array or tensor

IGNORED_LABEL = -100  # a label that is no part of any loss


class Key(NamedTuple):
    shape: str
    dtype: str
    meaning: str


KEYS: dict[str, Key] = {
    "input_ids": Key("B S", "int32", "token ids of the source, or of the text"),
    "attention_mask": Key("B S", "int32", "1 for a real token, 0 for padding"),
    "position_ids": Key("B S", "int32", "positions; absent: counted over real tokens, from 0 in each segment"),
    "segment_ids": Key("B S", "int32", "tokens attend only within one segment"),
    "token_type_ids": Key("B S", "int32", "sentence A is 0, B is 1"),
    "decoder_input_ids": Key("B T", "int32", "what the decoder reads; absent: labels shifted right"),
    "decoder_attention_mask": Key("B T", "int32", "1 for a real token, 0 for padding"),
    "decoder_position_ids": Key("B T", "int32", "as position_ids"),
    "decoder_segment_ids": Key("B T", "int32", "as segment_ids; cross-attention keeps to equal segments too"),
    "pixel_values": Key("B height width C", "float32", "normalised pixels of an image"),
    "input_features": Key("B A M", "float32", "log-mel frames of a sound"),
    "encoder_last_hidden_state": Key("B S D", "float32", "what the encoder made of an image or a sound, in its place"),
    "start_positions": Key("B", "int32", "the answer's first token; outside the text: none"),
    "end_positions": Key("B", "int32", "the answer's last token"),
    "labels": Key("B T", "int32", f"ids to predict; {IGNORED_LABEL} is ignored"),
}


class Example(NamedTuple):
    """One pair of texts, as a corpus gives it."""

    source: str
    target: str
    source_lang: str | None = None
    target_lang: str | None = None
    group: str = ""  # what is scored by itself

    @property
    def texts(self) -> tuple[str, ...]:
        """What a tokenizer learns from."""
        return self.source, self.target

    @property
    def key(self) -> str:
        """Pairs of one key never fall on both sides of a split."""
        return self.source

    @property
    def names(self) -> tuple[str, ...]:
        """What the tokenizer must have a language tag for."""
        return () if self.target_lang is None else (self.target_lang,)


class CaptionExample(NamedTuple):
    """An image and a text about it, as a corpus gives it."""

    image: str  # as of ImageExample
    text: str
    language: str | None = None  # of the text
    group: str = ""  # what is scored by itself: a style, a source

    @property
    def texts(self) -> tuple[str, ...]:
        """What a tokenizer learns from."""
        return (self.text,)

    @property
    def key(self) -> str:
        """Captions of one image never fall on both sides of a split."""
        return self.image

    @property
    def names(self) -> tuple[str, ...]:
        """What the tokenizer must have a language tag for."""
        return () if self.language is None else (self.language,)


class SpeechExample(NamedTuple):
    """A recording and what is said in it, as a corpus gives it."""

    audio: str  # a path, or the file itself as a data: URI
    text: str
    group: str = ""  # what is scored by itself: a kind of voice, a room
    language: str = ""  # that is spoken

    @property
    def texts(self) -> tuple[str, ...]:
        """What a tokenizer learns from."""
        return (self.text,)

    @property
    def key(self) -> str:
        """Recordings of one text never fall on both sides of a split, whoever speaks it."""
        return self.text

    @property
    def names(self) -> tuple[str, ...]:
        """It has no labels."""
        return ()


class ImageExample(NamedTuple):
    """An image and its label, as a corpus gives it."""

    image: str  # a path, or the file itself as a data: URI
    label: str
    group: str = ""  # what is scored by itself

    @property
    def texts(self) -> tuple[str, ...]:
        """None: no tokenizer learns from it."""
        return ()

    @property
    def key(self) -> str:
        """Images of one key never fall on both sides of a split."""
        return self.image

    @property
    def names(self) -> tuple[str, ...]:
        """Its label."""
        return (self.label,)
