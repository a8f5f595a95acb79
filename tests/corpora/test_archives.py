"""Reading a .deb without dpkg."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.corpora.archives import ar_members, package_files
from regard.errors import DataError


def ar(members: dict[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, content in members.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        parts += [header, content, b"\n" * (len(content) % 2)]
    return b"".join(parts)


def tar(files: dict[str, bytes], compression: str = "xz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("./usr/share/doc/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "a.txt"
        archive.addfile(link)
    return buffer.getvalue()


def deb(directory: Path, data: bytes, name: str = "data.tar.xz") -> Path:
    path = directory / "package_1.0_all.deb"
    path.write_bytes(ar({"debian-binary": b"2.0\n", "control.tar.xz": b"not read", name: data}))
    return path


names = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=15)


@given(st.dictionaries(names, st.binary(max_size=40), max_size=5))
def test_an_ar_archive_gives_back_what_went_in(members: dict[str, bytes]) -> None:
    assert dict(ar_members(ar(members))) == members


@given(st.dictionaries(names, st.binary(min_size=2, max_size=40), min_size=1, max_size=3), st.data())
def test_a_shortened_ar_archive_never_gives_a_wrong_member(members: dict[str, bytes], data: st.DataObject) -> None:
    whole = ar(members)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        found = dict(ar_members(cut))
    except DataError:
        return
    assert found.items() <= members.items()


@pytest.mark.parametrize("compression", ["xz", "gz", "bz2"])
def test_a_package_gives_its_regular_files_under_the_prefix_with_the_suffix(tmp_path: Path, compression: str) -> None:
    files = {"usr/share/doc/a.txt": b"A", "usr/share/doc/b.html": b"B", "usr/lib/c.txt": b"C"}
    package = deb(tmp_path, tar(files, compression), f"data.tar.{compression}")
    assert package_files(package, ("usr/share/",), (".txt",)) == {"usr/share/doc/a.txt": b"A"}
    assert package_files(package, ("usr/",), (".txt", ".html")) == files


def test_a_file_that_is_no_package_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.deb"
    path.write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match="not an ar archive"):
        package_files(path, ("usr/",), ("",))


def test_a_package_whose_compression_python_lacks_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"package_1\.0_all\.deb cannot be read"):
        package_files(deb(tmp_path, b"\x28\xb5\x2f\xfd zstd", "data.tar.zst"), ("usr/",), ("",))


def test_a_package_cut_short_inside_its_data_is_refused(tmp_path: Path) -> None:
    whole = tar({"usr/a": bytes(range(256)) * 50})
    with pytest.raises(DataError, match="cannot be read"):
        package_files(deb(tmp_path, whole[: len(whole) // 2]), ("usr/",), ("",))
