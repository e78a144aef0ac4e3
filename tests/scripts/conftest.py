"""Lets the tests import the modules of scripts, scripts/bench and scripts/eval, from whatever folder pytest was started in."""

import sys
from pathlib import Path

scripts = Path(__file__).resolve().parents[2] / "scripts"
sys.path[:0] = [str(scripts / "bench"), str(scripts / "eval"), str(scripts)]
