"""The text of a file as programs of several systems write it: Unicode, else what may be meant.

Unicode is certain. Which of the older encodings a file has is decided by what its words name, in
tables.py: libraries that guess by statistics fail on a few short words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from capsule_inspection.data.layouts.names import readable

_UNICODE_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_OTHER_ENCODINGS = ("cp1252", "cp1250", "cp1251", "mac_roman", "gb18030", "cp932", "big5", "cp949")


def decode_unicode(content: bytes) -> str | None:
    """The text of UTF-8, -16 or -32; None for other encodings.

    Raises UnicodeDecodeError where a mark of UTF-16 or -32 stands before something else.
    """
    encoding = next((name for mark, name in _UNICODE_MARKS.items() if content.startswith(mark)), "")
    if not encoding:  # the NULs of UTF-16 without a mark
        halves = content[:1000:2].count(0), content[1:1000:2].count(0)
        encoding = "utf-8" if max(halves) < len(content[:1000]) / 8 else "utf-16-be"
        encoding = "utf-16-le" if encoding != "utf-8" and halves[1] > halves[0] else encoding
    if not encoding.startswith("utf-8"):
        return content.decode(encoding)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def decode_otherwise(content: bytes) -> Iterator[tuple[str, str]]:
    """Each encoding that the bytes may have; the first keeps names of files as their bytes."""
    yield "", content.decode("utf-8-sig", "surrogateescape")
    for encoding in _OTHER_ENCODINGS:
        try:
            yield encoding, content.decode(encoding)
        except UnicodeDecodeError:
            continue


def is_western(word: str) -> bool:
    """Whether bytes that are not UTF-8 are single accented letters between others, in cp1252."""
    odd = r"[^\x00-\x7f]"
    text = readable(word)
    return text == word or (
        all("\xc0" <= each <= "\xff" and each.isalpha() for each in re.findall(odd, text))
        and not re.search(f"{odd}{{3}}", text)
        and len(re.findall(odd, text)) <= len(re.findall("[A-Za-z]", text))
    )
