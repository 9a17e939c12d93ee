"""`python -m tests.fuzz.one TARGET CORPUS [options of libFuzzer]`: one target, until it finds something or its time is over."""

import sys
from pathlib import Path

import atheris

from tests.fuzz.targets import GUIDES, target


def main(name: str, corpus: str, options: list[str]) -> None:
    with atheris.instrument_imports(include=list(GUIDES[name])):
        found = target(name)
    for number, seed in enumerate(found.seeds):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *options, corpus], found.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
