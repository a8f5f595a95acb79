"""What the tokenizer of each family knows that its files need not say: special tokens, and languages and their places.

A family goes by the name of its class in Transformers, without "Fast"; the language codes stand in the order of their
ids, as fairseq numbered them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")

_MBART = """
    ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP
    nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN
""".split()
_MBART50_MORE = """
    af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE
    ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI
""".split()
_NLLB = """
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
""".split()
_M2M = """
    af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht
    hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps
    pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu
""".split()
_WMT21 = "en ha is ja cs ru zh de".split()


@dataclass(frozen=True)
class TokenizerFamily:
    """The special tokens where no file names others, and how a language is said.

    roles: role -> token, as a tokenizer_config.json has it. codes: the languages that a SentencePiece model does not
    hold. language: the source language where none is asked for. place: a language's token is the "first" of a text, or
    the "last", after eos.
    """

    roles: Mapping[str, Any] = field(default_factory=dict)
    codes: tuple[str, ...] = ()
    language: str | None = None
    place: Literal["first", "last"] | None = None


def _roles(**tokens: str) -> dict[str, str]:
    return tokens


_BERT = _roles(unk="[UNK]", sep="[SEP]", pad="[PAD]", cls="[CLS]", mask="[MASK]")
_FAIRSEQ = _roles(bos="<s>", eos="</s>", unk="<unk>", sep="</s>", pad="<pad>", cls="<s>", mask="<mask>")
_LANGUAGES = {**_FAIRSEQ, "mask": {"content": "<mask>", "lstrip": True}}  # the mask swallows the space before it
_MBART50_ROLES = {role: token for role, token in _LANGUAGES.items() if role != "bos"}
_M2M_ROLES = {role: token for role, token in _FAIRSEQ.items() if role not in ("cls", "mask")}
_ENDED = _roles(eos="</s>", unk="<unk>", pad="<pad>")
_TEXT_END = "<|endoftext|>"

FAMILIES = {
    "BertTokenizer": TokenizerFamily(_BERT),
    "RobertaTokenizer": TokenizerFamily(_FAIRSEQ),
    "XLMRobertaTokenizer": TokenizerFamily(_FAIRSEQ),
    "MBartTokenizer": TokenizerFamily(_LANGUAGES, tuple(_MBART), "en_XX", "last"),
    "MBart50Tokenizer": TokenizerFamily(_MBART50_ROLES, (*_MBART, *_MBART50_MORE), "en_XX", "first"),
    "NllbTokenizer": TokenizerFamily(_LANGUAGES, tuple(_NLLB), "eng_Latn", "first"),
    "M2M100Tokenizer": TokenizerFamily(_M2M_ROLES, tuple(_M2M), "en", "first"),
    "MarianTokenizer": TokenizerFamily(_ENDED),
    "T5Tokenizer": TokenizerFamily(_ENDED),
    "PegasusTokenizer": TokenizerFamily({**_ENDED, "mask": "<mask_2>"}),
    "GPT2Tokenizer": TokenizerFamily(_roles(bos=_TEXT_END, eos=_TEXT_END, unk=_TEXT_END)),
    "Qwen2Tokenizer": TokenizerFamily(_roles(eos=_TEXT_END, unk=_TEXT_END, pad=_TEXT_END)),
    "LlamaTokenizer": TokenizerFamily(_roles(bos="<s>", eos="</s>", unk="<unk>")),
    "WhisperTokenizer": TokenizerFamily(_roles(bos=_TEXT_END, eos=_TEXT_END, unk=_TEXT_END)),
    "CLIPTokenizer": TokenizerFamily(_roles(bos="<|startoftext|>", eos=_TEXT_END, unk=_TEXT_END, pad=_TEXT_END)),
}
_ALIASES = {"DistilBertTokenizer": "BertTokenizer", "BartTokenizer": "RobertaTokenizer"}
_CLASS_OF_MODEL = {
    "bert": "BertTokenizer",
    "distilbert": "BertTokenizer",
    "roberta": "RobertaTokenizer",
    "bart": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "mbart": "MBartTokenizer",
    "m2m_100": "M2M100Tokenizer",
    "marian": "MarianTokenizer",
    "t5": "T5Tokenizer",
    "pegasus": "PegasusTokenizer",
    "gpt2": "GPT2Tokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "llama": "LlamaTokenizer",
    "mistral": "LlamaTokenizer",
    "whisper": "WhisperTokenizer",
    "clip": "CLIPTokenizer",
}
# Classes that stand for any tokenizer.json.
_ANY = ("PreTrainedTokenizer", "TokenizersBackend", "PythonBackend")


def tokenizer_class(config: Mapping[str, Any], model_config: Mapping[str, Any]) -> str:
    """The class that a directory's tokenizer is of; "" where its files name none, or one that stands for any.

    config: tokenizer_config.json, which is asked first; model_config: config.json.
    """
    for values in (config, model_config):
        name = str(values.get("tokenizer_class") or "").removesuffix("Fast")
        if name:
            return "" if name in _ANY else _ALIASES.get(name, name)
    return class_of_model(model_config)


def class_of_model(model_config: Mapping[str, Any]) -> str:
    """The class that the tokenizer of such a model usually is of; "" for other models."""
    decoder = model_config.get("decoder")  # of a captioner, the side with text; of two texts' sides, as the other
    model = decoder if isinstance(decoder, Mapping) else model_config
    return _CLASS_OF_MODEL.get(str(model.get("model_type")), "")


def family_of(config: Mapping[str, Any]) -> TokenizerFamily:
    """The family of a tokenizer_config.json; one that knows nothing where it names another class.

    A tokenizer.json without any config has Marian's special tokens, if it has them: so Regard wrote them first.
    """
    if "tokenizer_class" not in config:
        return TokenizerFamily(_ENDED)
    return FAMILIES.get(tokenizer_class(config, {}), TokenizerFamily())


def with_roles(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with the special tokens that its family has by default."""
    return {**{f"{role}_token": token for role, token in family_of(config).roles.items()}, **config}


def special_tokens(config: Mapping[str, Any]) -> list[str]:
    """All that a tokenizer_config.json calls a special token: the roles, others by name, and lists of more."""
    more = config.get("extra_special_tokens") or config.get("additional_special_tokens") or ()
    more = more.values() if isinstance(more, Mapping) else more if isinstance(more, list | tuple) else ()
    named = (value for key, value in config.items() if key.endswith("_token"))
    tokens = (token_text(value) for value in (*named, *more))
    return list(dict.fromkeys(token for token in tokens if token))


def token_text(value: Any) -> str | None:
    """A token as a config has it, a text or an object with its `content`; None for what is neither."""
    content = value.get("content") if isinstance(value, Mapping) else value
    return content if isinstance(content, str) else None


def language_codes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The languages that are numbered after the vocabulary; M2M-100 has a second list of them."""
    return tuple(_WMT21) if config.get("language_codes") == "wmt21" else family_of(config).codes
