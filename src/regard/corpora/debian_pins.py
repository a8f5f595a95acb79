"""The files that the Debian corpora are made of, pinned: bookworm's main archive at its last point release, 12.15."""

from regard.corpora.corpus import Pinned
from regard.corpora.fetch import Index, Package

_LIBREOFFICE = "4:7.4.7-1+deb12u14"

PACKAGES = {
    package.name: package
    for package in (
        Package(
            "libreoffice-help-en-us", _LIBREOFFICE, "8faa840285734d6cfe1ed25537b48f07e74bd6412e3917bf8e5f8a653f7b3712"
        ),
        Package(
            "libreoffice-help-de", _LIBREOFFICE, "00490b63c509ac96f7f212d6a6e40452d3e0d1f97ccf4b824dd5ec4c01e8277f"
        ),
        Package(
            "libreoffice-help-zh-cn", _LIBREOFFICE, "db867cdece4c2f9c7eebe65e519c6cf386fdcf49d6e061db3dffec893b3e1dee"
        ),
        Package(
            "libreoffice-l10n-de", _LIBREOFFICE, "aee22c8e3b3c0431f6e1b0bc66f757ba36c860e2651a05eb050fde4897f06548"
        ),
        Package(
            "libreoffice-l10n-zh-cn", _LIBREOFFICE, "06b2800923811a11ddadc9e1e09ef8bda2a89ba118470403b2f6a897152e0809"
        ),
        Package(
            "gcc-12-locales", "12.2.0-14+deb12u1", "a701516b5e34086f478b0a329dfd9dd8e1695e8bac5917a6b162a87719abe28f"
        ),
        Package(
            "python3.11-doc",
            "3.11.2-6+deb12u9",
            "5b3594189d6ef9a6963ce0347fd307a1cc67620ad697e144db366070e2e146be",
        ),
        Package("manpages", "6.03-2", "efa1ba4cd19ad7baeae959c9209a7eb74be2ebb858bcabb412597bfc9f588c91"),
        Package("manpages-dev", "6.03-2", "96f55cb5e26231d5567c89b692bced63825a14a2d5bd18fdf16ea2ed44eb9838"),
        Package("manpages-de", "4.18.1-1", "37d2e7ee51f22952aecec3af93647ff59194a3c74bb7a694560f49c7f7ab3978"),
        Package("manpages-de-dev", "4.18.1-1", "cb3d7c10977dd3c811065d89e0d912196ec5e6f2551308edb0ba72e02da838d7"),
        Package("debian-handbook", "11.20220922", "3d5dbeac1f1afc9c094eab9d0f701f6ecff99c4927d5a4794cf6c85678134faa"),
        Package("gnome-user-docs", "43.0-2", "0d635a840747958ca84da778b40d341f1155603851f922c9a171f5a181d6a39f"),
    )
}

INDEXES = {
    index.variety: index
    for index in (
        Index("en", "62f59c3cdca9786e4f7adf9002f9f5729a684adcb4667e58e448dec9b5a46c7f"),
        Index("de", "adac331fc51f9a00c1b4120b4ac87423be2b1f1615d4f288c7cbc2d5258c0650"),
        Index("zh_CN", "53d04c0b9a75c9519afc6a1919af6d6cfd9012bb7a18bf110a169fd67c6cc4ef"),
        Index("amd64", "515e692f2c4121c6fcec444ef100cc18f79a991910615f3a88c8b7becfc94d2f", "Packages"),
    )
}

EXPECTED: dict[str, dict[str, tuple[int, int]]] = {  # corpus -> source -> pairs read, pairs clean and distinct
    "debian-en-de": {
        "libreoffice-help": (76_717, 34_268),
        "libreoffice-l10n": (28_459, 18_015),
        "package descriptions": (48_386, 35_264),
        "gcc messages": (15_629, 14_828),
        "debian-handbook": (4_148, 3_138),
        "gnome-user-docs": (3_138, 2_747),
        "man pages": (16_319, 10_048),
    },
    "debian-en-zh": {
        "libreoffice-help": (76_717, 23_873),
        "libreoffice-l10n": (28_082, 17_849),
        "package descriptions": (3_708, 3_021),
        "gcc messages": (4_321, 4_149),
        "debian-handbook": (4_148, 2_645),
        "gnome-user-docs": (2_724, 941),
    },
}

EXPECTED_SPLITS = {  # corpus -> training, validation, test
    "debian-en-de": (109_826, 805, 803),
    "debian-en-zh": (46_543, 268, 710),
}
_HASHES = {
    "debian-en-de": "725eb58aef7c2510ac68557c77b38e493ae305447981c1d81c5a166a1ad5de00",
    "debian-en-zh": "1a0ef7ab6a0470f441de4e889e2d63e7b14a16a9115f0d40abed11439c01f0c3",
}
PINNED = {name: Pinned(*sizes, _HASHES[name]) for name, sizes in EXPECTED_SPLITS.items()}
