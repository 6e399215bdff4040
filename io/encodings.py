"""Bytes to text whatever wrote them: UTF-8, UTF-16 as spreadsheets save it, or a Windows code page."""

import codecs

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_SAMPLE = 4096


def encoding_of(start: bytes) -> str:
    """Return the name of the encoding of a text that begins with these bytes.

    A byte order mark decides; then zero bytes in every other place (UTF-16 without a mark); then whether the bytes
    are UTF-8. What is none of these is read as Windows-1252, in which every byte but five means something.

    Examples
    --------
    >>> encoding_of("Größe".encode("cp1252"))
    'cp1252'
    """
    for mark, name in _BOMS:
        if start.startswith(mark):
            return name
    even, odd = start[0:_SAMPLE:2], start[1:_SAMPLE:2]
    if len(odd) > 1 and odd.count(0) > 0.8 * len(odd) and not even.count(0):
        return "utf-16-le"
    if len(even) > 1 and even.count(0) > 0.8 * len(even) and not odd.count(0):
        return "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # a character cut at the end is no error
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def decoded(content: bytes) -> str:
    """Return the text in some bytes; what no encoding explains becomes replacement characters."""
    return content.decode(encoding_of(content), errors="replace")
