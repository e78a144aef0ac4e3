#!/usr/bin/env python3
"""Prints a real long document of about N tokens: Debian's own licence texts, with one sentence to find at 60 % depth.

The texts stand in /usr/share/common-licenses of every Debian machine. A window of the right length is cut around the
sentence of the GPL (version 3) that says for how long a written offer must be valid; the demo asks for that.
"""
import argparse
import pathlib
import sys

FOLDER = pathlib.Path("/usr/share/common-licenses")
BEFORE = ["GFDL-1.2", "MPL-1.1", "CC0-1.0", "Artistic", "MPL-2.0", "Apache-2.0"]
ANSWER_IN = "GPL-3"
AFTER = ["GFDL-1.3", "LGPL-2.1", "LGPL-3", "BSD", "GPL-2", "GPL-1"]
SENTENCE = "written offer, valid for at least"
CHARACTERS_PER_TOKEN = 4.62  # of these texts in Qwen's vocabulary
DEPTH = 0.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=8192)
    tokens = parser.parse_args().tokens
    if not 1024 <= tokens <= 32768:
        sys.exit(f"error: --tokens is {tokens}, must be between 1024 and 32768")

    def read(names: list[str]) -> str:
        return "".join((FOLDER / name).read_text(encoding="utf-8") + "\n\n" for name in names)

    before, middle = read(BEFORE), read([ANSWER_IN])
    text = before + middle + read(AFTER)
    answer = len(before) + middle.index(SENTENCE)
    # The template, the question and the answer need room too.
    length = int((tokens - 192) * CHARACTERS_PER_TOKEN)
    begin = max(0, min(answer - int(length * DEPTH), len(text) - length))
    # Whole paragraphs: from the end of one to the end of another.
    begin = text.index("\n\n", begin) + 2 if begin else 0
    end = text.rindex("\n\n", begin, begin + length)
    sys.stdout.write(text[begin:end])


if __name__ == "__main__":
    main()
