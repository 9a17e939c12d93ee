"""Who says what, as it is said: what pairing tells → items → cards → one screen → a terminal."""
