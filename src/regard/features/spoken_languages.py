"""The languages that Whisper was trained on, by code and English name (Radford et al. 2022, appendix E)."""

import re
from collections.abc import Collection
from difflib import get_close_matches

from regard.errors import InputError

_NAMES = """
af afrikaans; am amharic; ar arabic; as assamese; az azerbaijani; ba bashkir; be belarusian; bg bulgarian; bn bengali;
bo tibetan; br breton; bs bosnian; ca catalan, valencian; cs czech; cy welsh; da danish; de german, deutsch; el greek;
en english; es spanish, castilian; et estonian; eu basque; fa persian; fi finnish; fo faroese; fr french; gl galician;
gu gujarati; ha hausa; haw hawaiian; he hebrew; hi hindi; hr croatian; ht haitian creole, haitian; hu hungarian; hy
armenian; id indonesian; is icelandic; it italian; ja japanese; jw javanese; ka georgian; kk kazakh; km khmer; kn
kannada; ko korean; la latin; lb luxembourgish, letzeburgesch; ln lingala; lo lao; lt lithuanian; lv latvian; mg
malagasy; mi maori; mk macedonian; ml malayalam; mn mongolian; mr marathi; ms malay; mt maltese; my myanmar, burmese;
ne nepali; nl dutch, flemish; nn nynorsk; no norwegian; oc occitan; pa punjabi, panjabi; pl polish; ps pashto, pushto;
pt portuguese; ro romanian, moldavian, moldovan; ru russian; sa sanskrit; sd sindhi; si sinhala, sinhalese; sk slovak;
sl slovenian; sn shona; so somali; sq albanian; sr serbian; su sundanese; sv swedish; sw swahili; ta tamil; te telugu;
tg tajik; th thai; tk turkmen; tl tagalog; tr turkish; tt tatar; uk ukrainian; ur urdu; uz uzbek; vi vietnamese; yi
yiddish; yo yoruba; yue cantonese; zh chinese, mandarin
"""
CODES = {
    name.strip(): code
    for code, _, names in (entry.strip().partition(" ") for entry in " ".join(_NAMES.split()).split(";"))
    for name in names.split(",")
}


def language_code(said: str, known: Collection[str]) -> str:
    """`said` as one of the `known` codes: de, de-AT, German or <|de|>; InputError, naming one that is near, for any
    other."""
    language = said.strip().lower().removeprefix("<|").removesuffix("|>")
    language, *_ = re.split("[-_]", language, maxsplit=1)
    code = language if language in known or language in CODES.values() else CODES.get(language)
    if code in known:
        return str(code)
    if code is not None:
        name = language if language == code else f"{language} ({code})"
        raise InputError(f"this model does not know {name}: language must be one of {_listed(known)}")
    names = [name for name, code in CODES.items() if code in known]
    near = get_close_matches(language, names, n=1, cutoff=0.8) if len(language) > 3 else []
    hint = f"did you mean {near[0]}?" if near else f"it must be one of {_listed(known)}"
    raise InputError(f"there is no language {said!r}: {hint}")


def _listed(known: Collection[str]) -> str:
    return ", ".join(sorted(known))
