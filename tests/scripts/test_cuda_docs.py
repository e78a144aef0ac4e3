"""docs/cuda.md names tests: they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_the_table_of_bugs_names_exists():
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*_test.cc"))
    existing = {f"{suite}.{name}" for suite, name in re.findall(r"\bTEST(?:_F|_P)?\((\w+),\s*(\w+)\)", sources)}
    named = re.findall(r"`(\w+Test\.\w+)`", (ROOT / "docs/cuda.md").read_text(encoding="utf-8"))
    assert len(named) > 30
    assert set(named) - existing == set()
