"""What a version holds in place of an ONNX model, said by names and first bytes."""

import os

from topicserve.servables.sources.regular_files import open_regular_file

_FIRST_BYTES = {
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself with git lfs pull",
    b"<": "an HTML or XML page: the download failed, or needs a sign-in",
    b"PK\x03\x04": "a ZIP archive, as PyTorch writes it too: unpack it, or export the model",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"\x80\x02": "a pickle: export the model as docs/kinds.md says",
    b"\x80\x03": "a pickle: export the model as docs/kinds.md says",
    b"\x80\x04": "a pickle: export the model as docs/kinds.md says",
    b"\x80\x05": "a pickle: export the model as docs/kinds.md says",
    b"\x89HDF": "an HDF5 file, as Keras writes it: export the model as docs/kinds.md says",
}
_LONGEST = max(map(len, _FIRST_BYTES))


def hint_of_names(path: str, wanted: str) -> str:
    """Return what to do with the files of a directory that has not the wanted one; "" for none."""
    try:
        names = sorted(os.listdir(path))
    except OSError:
        return ""
    found = [name for name in names if name.lower().endswith(".onnx")]
    if found:
        told = ", ".join(map(repr, found[:3]))
        return f"; set the option file to the one that is there: {told}"
    own = [name for name in names if name.lower().endswith(".ort")]
    if own:
        return (
            f"; {own[0]!r} is in ONNX Runtime's own format, which is not read: serve the file that "
            f"it was made of as {wanted!r}"
        )
    return ""


def hint_of_content(file: str) -> str:
    """Return what a file is that is no ONNX model; "" where that cannot be told."""
    try:
        with open_regular_file(file) as opened:
            start = opened.read(_LONGEST).lstrip(b"\xef\xbb\xbf \r\n\t")
    except OSError:
        return ""
    return next(
        (f"; it is {what}" for first, what in _FIRST_BYTES.items() if start.startswith(first)), ""
    )
