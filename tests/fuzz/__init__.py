"""Row 55: parsers and redactor on any bytes. One target a file: a function of bytes that raises where a property does not hold.

The same functions run under atheris (`scripts/fuzz.sh`, guided by what code the bytes reach) and, for seconds, under hypothesis
(tests/test_fuzz.py). What was found once is a pinned example there.
"""
