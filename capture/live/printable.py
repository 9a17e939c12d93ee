"""Hostile text made harmless: what would command the reader's terminal, or hide from the reader, is shown instead."""

import re

# First and last code points. What is not here may be invisible or of odd width, but moves nothing and turns nothing round.
COMMANDS = (
    (0x00, 0x08),  # C0; tab and newline are text
    (0x0B, 0x1F),
    (0x7F, 0x9F),  # DEL and C1: 0x9B begins a control sequence in 8-bit terminals, 0x9D sets the title
    (0x061C, 0x061C),  # marks that change the direction of what follows (https://unicode.org/reports/tr9/)
    (0x200E, 0x200F),
    (0x2028, 0x202E),  # with the line and paragraph separators: some terminals begin a row there
    (0x2066, 0x206F),
    (0xD800, 0xDFFF),  # lone surrogates cannot be written as UTF-8
    (0xFFF9, 0xFFFB),  # annotations and tags: text within the text that nobody sees
    (0xE0000, 0xE007F),
)
_replaced = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in COMMANDS) + "]+").sub


def _shown(code: int) -> str:
    """What stands for a character: its picture (␛), else its number (<U+202E>)."""
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return "�" if 0xD800 <= code <= 0xDFFF else f"<U+{code:04X}>"


_SHOWN = {code: _shown(code) for first, last in COMMANDS for code in range(first, last + 1)}


def printable(text: str) -> str:
    """A text that commands no terminal: newlines and tabs stay, CR LF is a newline, the rest of COMMANDS is shown.

    Each character is replaced by itself, so that it does not matter where a text is cut; only CR LF must not be.
    """
    if text.isprintable():  # most pieces are, and no character of COMMANDS is
        return text
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    return _replaced(_harmless, text)


def _harmless(found: re.Match[str]) -> str:
    return found[0].translate(_SHOWN)  # of all the text: it would raise an error for each character that is not in the table
