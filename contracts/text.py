"""Text that UTF-8 can carry."""


def spelt(text: str) -> str:
    r"""The text, with each half of a surrogate pair as the six characters of its escape (`\ud800`).

    Python's `json` takes such a half from an escape, so a device can send one; no UTF-8 has it, and so no table, view or hash.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
