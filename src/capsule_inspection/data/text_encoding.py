"""The text of a file in any form of Unicode; other encodings are not guessed."""

from __future__ import annotations

_UNICODE_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


def decode_unicode(content: bytes) -> str | None:
    """The text of UTF-8, or of UTF-16 or -32 with its mark; None for other encodings.

    Raises UnicodeDecodeError where a mark of UTF-16 or -32 stands before something else, and for
    NUL characters.
    """
    marks = (name for mark, name in _UNICODE_MARKS.items() if content.startswith(mark))
    encoding = next(marks, "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        if not encoding.startswith("utf-8"):
            raise
        return None
    if "\0" in text:
        raise UnicodeDecodeError(encoding, content, 0, 1, "NUL, as in UTF-16 without its mark")
    return text
