"""Tiny tokenizers of all families, as model directories hold them; made by counting, so that they never change."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import awkward_texts as texts
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as messages

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
NLLB_CODES = """
    ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn amh_Ethi apc_Arab arb_Arab ars_Arab
    ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn ban_Latn bel_Cyrl
    bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn
    cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt ell_Grek eng_Latn epo_Latn
    est_Latn eus_Latn ewe_Latn fao_Latn pes_Arab fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gla_Latn
    gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn
    ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab
    kas_Deva kat_Geor knc_Arab knc_Latn kaz_Cyrl kbp_Latn kea_Latn khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn
    kon_Latn kor_Hang kmr_Latn lao_Laoo lvs_Latn lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn
    lua_Latn lug_Latn luo_Latn lus_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn mkd_Cyrl plt_Latn mlt_Latn
    mni_Beng khk_Cyrl mos_Latn mri_Latn zsm_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn nus_Latn
    nya_Latn oci_Latn gaz_Latn ory_Orya pag_Latn pan_Guru pap_Latn pol_Latn por_Latn prs_Arab pbt_Arab quy_Latn
    ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng scn_Latn shn_Mymr sin_Sinh slk_Latn slv_Latn smo_Latn
    sna_Latn snd_Arab som_Latn sot_Latn spa_Latn als_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn
    szl_Latn tam_Taml tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi taq_Latn taq_Tfng tpi_Latn tsn_Latn
    tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn
    vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zul_Latn
"""
M2M_CODES = """
    af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht
    hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps
    pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu
"""
LINES = [*texts.SENTENCES[:9], "hello world hello", "the fox and the dog and the fox's den"]


def write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False), "utf-8")


def byte_alphabet() -> dict[int, str]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def learned_merges(words: Counter[tuple[str, ...]], count: int) -> list[tuple[str, str]]:
    """Byte pair encoding as its paper has it; ties go to the pair that sorts first."""
    merges = []
    for _ in range(count):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, times in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        merged: Counter[tuple[str, ...]] = Counter()
        for word, times in words.items():
            merged[joined(word, best)] += times
        words = merged
    return merges


def joined(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    found: list[str] = []
    for symbol in word:
        if found and (found[-1], symbol) == pair:
            found[-1] += symbol
        else:
            found.append(symbol)
    return tuple(found)


def byte_pairs(directory: Path, specials: Sequence[str], end: str = "", lower: bool = False, count: int = 160) -> None:
    """vocab.json and merges.txt: `specials` come last. end: the mark of a word's end, instead of that of a space."""
    alphabet = byte_alphabet()
    words: Counter[tuple[str, ...]] = Counter()
    for line in LINES:
        for number, word in enumerate((line.lower() if lower else line).split(" ")):
            text = word if end or number == 0 else " " + word
            symbols = [alphabet[byte] for byte in text.encode()]
            words[tuple([*symbols[:-1], symbols[-1] + end] if end else symbols)] += 1
    merges = learned_merges(words, count)
    tokens = [*alphabet.values(), *(character + end for character in alphabet.values() if end)]
    tokens += [left + right for left, right in merges]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys([*tokens, *specials]))}
    write_json(directory / "vocab.json", vocabulary)
    lines = "".join(f"{left} {right}\n" for left, right in merges)
    (directory / "merges.txt").write_text("#version: 0.2\n" + lines, "utf-8")


def word_pieces(directory: Path, lower: bool) -> None:
    words = Counter((" ".join(LINES).lower() if lower else " ".join(LINES)).replace(",", " ").replace(".", " ").split())
    characters = sorted({character for word in words for character in word})
    pieces = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,!?'#-:;", *characters]
    pieces += [f"##{character}" for character in characters if character.isalnum()]
    pieces += [*sorted(word for word in words if word.isalpha()), "##ing", "##s", "##er", "1", "2", "##0"]
    (directory / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n", "utf-8")


def piece_model(
    kind: str = "unigram",
    first: Sequence[tuple[str, int]] = (("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)),
    rules: str = "nmt_nfkc",
    byte_fallback: bool = False,
    user_defined: Sequence[str] = (),
    lines: Sequence[str] = tuple(LINES),
) -> bytes:
    """A SentencePiece `.model`: pieces of up to five characters, or of byte pairs, of the words in the lines."""
    model = messages.ModelProto()
    add = model.pieces.add
    for piece, type_ in first:
        add(piece=piece, score=0.0, type=type_)
    for piece in user_defined:
        add(piece=piece, score=0.0, type=USER_DEFINED)
    for byte in range(256) if byte_fallback else ():
        add(piece=f"<0x{byte:02X}>", score=0.0, type=BYTE)
    for number, piece in enumerate(bpe_pieces(lines) if kind == "bpe" else unigram_pieces(lines)):
        add(piece=piece, score=-float(number) if kind == "bpe" else -2.0 - 0.03125 * number, type=NORMAL)
    model.trainer_spec.model_type = 2 if kind == "bpe" else 1
    model.trainer_spec.byte_fallback = byte_fallback
    model.trainer_spec.unk_id = [type_ for _, type_ in first].index(UNKNOWN)
    if rules == "identity":
        model.normalizer_spec.name = rules
        model.normalizer_spec.remove_extra_whitespaces = False  # as Llama's
    else:
        spec = sentencepiece.SentencePieceNormalizer(rule_name=rules).serialized_normalizer_spec()
        model.normalizer_spec.ParseFromString(spec)
    return model.SerializeToString()


def _spelled(lines: Sequence[str]) -> Counter[str]:
    return Counter("▁" + word for line in lines for word in line.split())


def unigram_pieces(lines: Sequence[str]) -> list[str]:
    counts: Counter[str] = Counter()
    for word, times in _spelled(lines).items():
        for start in range(len(word)):
            for length in range(1, min(6, len(word) - start + 1)):
                counts[word[start : start + length]] += times
    several = [piece for piece in counts if len(piece) == 1 or counts[piece] > 2]
    return sorted(several, key=lambda piece: (-counts[piece] * len(piece), piece))


def bpe_pieces(lines: Sequence[str]) -> list[str]:
    words = Counter({tuple(word): times for word, times in _spelled(lines).items()})
    merges = learned_merges(words, 150)
    characters = sorted({character for word in words for character in word})
    return list(dict.fromkeys([*(left + right for left, right in merges), *characters]))


def _bert(directory: Path) -> None:
    word_pieces(directory, lower=True)


def _bert_cased(directory: Path) -> None:
    word_pieces(directory, lower=False)
    config = {"do_lower_case": False, "tokenize_chinese_chars": False, "tokenizer_class": "BertTokenizer"}
    write_json(directory / "tokenizer_config.json", {**config, "clean_up_tokenization_spaces": True})


def _gpt2(directory: Path) -> None:
    byte_pairs(directory, ["<|endoftext|>"])


def _gpt2_prefixed(directory: Path) -> None:
    byte_pairs(directory, ["<|endoftext|>", "<pad>"])
    config = {"add_prefix_space": True, "add_bos_token": True, "pad_token": "<pad>", "model_max_length": 64}
    write_json(directory / "tokenizer_config.json", {**config, "tokenizer_class": "GPT2Tokenizer"})


def _roberta(directory: Path) -> None:
    byte_pairs(directory, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    mask = {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False}
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer", "mask_token": mask})


def _bart(directory: Path) -> None:
    byte_pairs(directory, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "BartTokenizer", "add_prefix_space": True})


def _qwen2(directory: Path) -> None:
    byte_pairs(directory, [])
    size = len(json.loads((directory / "vocab.json").read_text("utf-8")))
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    added = {
        str(size + n): {"content": token, "special": special, **flags}
        for n, (token, special) in enumerate(
            [("<|endoftext|>", True), ("<|im_start|>", True), ("<|im_end|>", True), ("<think>", False)]
        )
    }
    roles = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None, "unk_token": None}
    more = {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "clean_up_tokenization_spaces": False}
    write_json(
        directory / "tokenizer_config.json",
        {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added, **roles, **more},
    )


def _clip(directory: Path) -> None:
    byte_pairs(directory, ["<|startoftext|>", "<|endoftext|>"], end="</w>", lower=True)
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})


def _whisper(directory: Path) -> None:
    byte_pairs(directory, ["<|endoftext|>"])
    size = len(json.loads((directory / "vocab.json").read_text("utf-8")))
    specials = ["<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>", "<|startofprev|>"]
    specials.append("<|notimestamps|>")
    times = [f"<|{second / 50:.2f}|>" for second in range(8)]
    write_json(directory / "added_tokens.json", {token: size + n for n, token in enumerate([*specials, *times])})
    config = {"tokenizer_class": "WhisperTokenizer", "additional_special_tokens": specials}
    write_json(directory / "tokenizer_config.json", config)


def _t5(directory: Path) -> None:
    first = [("<pad>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN)]
    (directory / "spiece.model").write_bytes(piece_model(first=first))
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "extra_ids": 5})


def _pegasus(directory: Path) -> None:
    first = [("<pad>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN)]
    (directory / "spiece.model").write_bytes(piece_model(first=first))
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "PegasusTokenizer"})


def _llama(directory: Path) -> None:
    model = piece_model("bpe", rules="identity", byte_fallback=True, user_defined=["<think>"])
    (directory / "tokenizer.model").write_bytes(model)
    config = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": False}
    write_json(directory / "tokenizer_config.json", config)


def _xlm_roberta(directory: Path) -> None:
    (directory / "sentencepiece.bpe.model").write_bytes(piece_model())
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer"})


def _mbart(directory: Path) -> None:
    # Transformers 5 forgets mBART's normalisation, so a model with one could not be compared.
    (directory / "sentencepiece.bpe.model").write_bytes(piece_model(rules="identity"))
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "MBartTokenizer", "src_lang": "de_DE"})


def _mbart50(directory: Path) -> None:
    (directory / "sentencepiece.bpe.model").write_bytes(piece_model())
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "MBart50Tokenizer"})


def _nllb(directory: Path) -> None:
    model = piece_model("bpe")
    (directory / "sentencepiece.bpe.model").write_bytes(model)
    size = len(messages.ModelProto.FromString(model).pieces) + 1
    flags = {"rstrip": False, "normalized": False, "single_word": False, "special": True}
    tokens = [*NLLB_CODES.split(), "<mask>"]
    added = {str(size + n): {"content": token, "lstrip": token == "<mask>", **flags} for n, token in enumerate(tokens)}
    write_json(
        directory / "tokenizer_config.json",
        {"tokenizer_class": "NllbTokenizer", "added_tokens_decoder": added, "src_lang": "fra_Latn"},
    )


def _m2m_100(directory: Path) -> None:
    model = piece_model("bpe")
    (directory / "sentencepiece.bpe.model").write_bytes(model)
    pieces = [piece.piece for piece in messages.ModelProto.FromString(model).pieces][3:]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *reversed(pieces[5:])]  # five pieces are unknown, the others elsewhere
    write_json(directory / "vocab.json", {token: i for i, token in enumerate(tokens)})
    codes = [f"__{code}__" for code in M2M_CODES.split()]
    config = {"tokenizer_class": "M2M100Tokenizer", "additional_special_tokens": codes}
    write_json(directory / "tokenizer_config.json", config)


def _marian(directory: Path) -> None:
    source = piece_model(lines=texts.SENTENCES[:2], rules="nmt_nfkc")
    target = piece_model(lines=texts.SENTENCES[2:4], rules="nmt_nfkc")
    (directory / "source.spm").write_bytes(source)
    (directory / "target.spm").write_bytes(target)
    pieces = [piece.piece for model in (source, target) for piece in messages.ModelProto.FromString(model).pieces[3:]]
    tokens = dict.fromkeys(["</s>", "<unk>", ">>de<<", ">>fr<<", *sorted(set(pieces))[2:], "<pad>"])
    write_json(directory / "vocab.json", {token: i for i, token in enumerate(tokens)})
    write_json(directory / "tokenizer_config.json", {"tokenizer_class": "MarianTokenizer", "target_lang": "de"})


_WRITERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "bert": ("bert", _bert),
    "bert-cased": ("bert", _bert_cased),
    "distilbert": ("distilbert", _bert),
    "gpt2": ("gpt2", _gpt2),
    "gpt2-prefixed": ("gpt2", _gpt2_prefixed),
    "roberta": ("roberta", _roberta),
    "bart": ("bart", _bart),
    "qwen2": ("qwen2", _qwen2),
    "clip": ("clip", _clip),
    "whisper": ("whisper", _whisper),
    "t5": ("t5", _t5),
    "pegasus": ("pegasus", _pegasus),
    "llama": ("llama", _llama),
    "xlm-roberta": ("xlm-roberta", _xlm_roberta),
    "mbart": ("mbart", _mbart),
    "mbart50": ("mbart", _mbart50),
    "nllb": ("m2m_100", _nllb),
    "m2m_100": ("m2m_100", _m2m_100),
    "marian": ("marian", _marian),
}
FAMILIES = list(_WRITERS)


def write(family: str, directory: Path) -> Path:
    """The files of a family's tokenizer, and a config.json that names the model's type; returns the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    model_type, writer = _WRITERS[family]
    write_json(directory / "config.json", {"model_type": model_type})
    writer(directory)
    return directory
