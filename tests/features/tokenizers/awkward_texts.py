"""Texts that are awkward for tokenizers, many languages among them; the same ones wherever they are asked for."""

SENTENCES = """
The quick brown fox jumps over the lazy dog, twice.
Don't they've said it's 3.14 or 2,718.28? I'm sure we'll see; you're right!
Der schnelle braune Fuchs springt über den faulen Hund. Größe, Straße, Öl.
Le cœur déçu mais l'âme plutôt naïve, Louÿs rêva de crapaüter en canoë.
El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia, ¿verdad? ¡Sí!
Příliš žluťoučký kůň úpěl ďábelské ódy. Zażółć gęślą jaźń.
Съешь же ещё этих мягких французских булок, да выпей чаю.
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.
敏捷的棕色狐狸跳过了懒狗。今天是2024年3月15日，星期五！
すばやい茶色の狐がのろまな犬を飛び越える。カタカナ、ｶﾀｶﾅ
다람쥐 헌 쳇바퀴에 타고파
الثعلب البني السريع يقفز فوق الكلب الكسول؟
דג סקרן שט בים מאוכזב ולפתע מצא חברה
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण
เป็นมนุษย์สุดประเสริฐเลิศคุณค่า
Chú cáo nâu nhanh nhẹn nhảy qua con chó lười biếng
Pijamalı hasta yağız şoföre çabucak güvendi. İstanbul ISPARTA ıi
""".strip().split("\n")

ODD = [
    "",
    " ",
    "   ",
    "a",
    " a",
    "a ",
    "  both  ends  ",
    "three   spaces    here",
    "\t",
    "\n",
    "\r\n",
    "tab\tand\nnew\r\nline\n\nempty",
    "\u00a0no-break\u00a0space\u00a0",
    "\u3000wide\u3000space",
    "zero\u200bwidth\u200d\u200cjoin\ufeffer",
    "soft\u00adhyphen",
    "e\u0301 \u00e9 decomposed and composed",
    "\ufb01x of\ufb01ce \u2126 \u212b \u00bd \u2460 \uff21\uff22\uff23",
    "\u0130\u0131 \u1e9e \u00df \u01c5",
    "\u1112\u1161\u11ab jamo",
    "👩‍👩‍👧 🏳️‍🌈 👍🏽 emoji",
    "😀😀😀",
    "𝕏 𝒜 math",
    "\x00nul\x00inside",
    "\x01\x02\x7f control \x85 next",
    "\ufffd replacement \uffff \U0010ffff",
    "▁underline▁ ▁ _ ▁▁",
    "▁",
    "Ġ Ċ ĉ",
    "##ing ## # play##ing",
    "a##b",
    "</w> hello</w>",
    "<0x41> <0xE4>",
    "``quoted'' \"quotes\" ‘single’ “double” «guillemets»",
    "e.g. U.S.A. 10:30 50% $5.00 #tag @user a_b-c/d\\e",
    "http://example.org/path?query=1&x=y#frag",
    "def f(x):\n    return x ** 2  # square\n",
    "{\"key\": [1, 2, 3], 'k': null}",
    "1234567890 12 345 6,789 0x1F 1e-5",
    "١٢٣ ४५६ ７８９ ⅷ ²³",
    "CamelCaseWords ALLCAPS lower mIxEd",
    "supercalifragilisticexpialidocious",
    "x" * 120,
    "ab" * 60,
    "狐" * 30,
    "!" * 25,
    "... --- ??? !!! ,,, ;;;",
    " . , ! ? ' n't 'm 's 've 're",
    "do n't I 'm it 's we 've you 're , yes . no ! why ? ' so '",
    "a.b,c!d?e",
    "\u202eright to left\u202c mark\u200f",
    "mixed עברית and عربي and English",
    "ｆｕｌｌｗｉｄｔｈ　ＴＥＸＴ",
    "㍿ ㎏ ™ ℡ …",
    "n\u0303 a\u0308\u0323 stacked\u0336\u0337",
    "Ａ\u030a",
    "'s 't 'RE 'Ve i'LL",
    "   leading\n  and   \n trailing   ",
    "\n\n\n",
    "word\n",
    " \n \t ",
    "end.",
    "?",
    ">>de<",
    "<s > without </s",
    "[CL S] [SE P]",
    "<|endof text|>",
    "__en_",
    "en_ XX eng_ Latn",
]

_WORDS = [
    *"the fox springt über 狐 dog's 2024 don't École naïve 😀 hello, world! мир (test)".split(" "),
    *"\t of\n  and ... 日本 é ß İ".split(" "),
]


def many() -> list[str]:
    """250 texts, all without special tokens."""
    mixed = [
        " ".join(_WORDS[(seed * 7 + step * (seed % 5 + 1)) % len(_WORDS)] for step in range(seed % 9 + 2))
        for seed in range(250 - len(SENTENCES) - len(ODD))
    ]
    return [*SENTENCES, *ODD, *mixed]


# Special tokens of one family or another, spelled in a text.
SPELLED = [
    "</s>",
    "a </s> b<s>c",
    "[MASK] is [SEP] and [CLS]x[PAD] [UNK]",
    "<mask> the <mask>, <pad><unk> x",
    "the fox<|endoftext|> and  <|endoftext|>the dog<|startoftext|>",
    "<|im_start|>user\nhello<|im_end|>\n<think> x",
    ">>de<< Hello world",
    ">>de<<Hello >>fr<<",
    "<extra_id_0> the <extra_id_1>fox<extra_id_2>",
    "en_XX hello eng_Latn world __en__ fox __de__",
    "<|startoftranscript|><|en|><|transcribe|><|0.02|> hello<|0.06|>",
    "<mask_1> and <mask_2> <unk_7>",
    "</s",
]
