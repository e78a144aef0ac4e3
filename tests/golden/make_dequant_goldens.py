#!/usr/bin/env python3
"""Writes tests/golden/dequant/<type>.json: random blocks of every tensor type and what they dequantise to.

The reference is the gguf package's dequantize. The blocks are random bytes, except that scales are finite f16 values,
with subnormals, zeros and negative ones among them. The format is described in README.md beside this file.

usage: make_dequant_goldens.py
"""

import json
import pathlib

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGML_QUANT_SIZES
from gguf.quants import dequantize

BLOCKS = 12
# Where the f16 scales and minimums of a block lie, in bytes.
HALVES = {
    Type.Q4_0: [0],
    Type.Q4_1: [0, 2],
    Type.Q5_0: [0],
    Type.Q5_1: [0, 2],
    Type.Q8_0: [0],
    Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2],
    Type.Q6_K: [208],
}
FLOATS = {Type.F32: 4, Type.F16: 2, Type.BF16: 2}
SPECIAL_HALVES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00]


def quantised_blocks(rng, kind):
    block_bytes = GGML_QUANT_SIZES[kind][1]
    blocks = rng.integers(0, 256, (BLOCKS, block_bytes), dtype=np.uint8)
    for i, offset in enumerate(HALVES[kind]):
        halves = (rng.standard_normal(BLOCKS) * 0.02).astype(np.float16).view(np.uint16)
        halves[: len(SPECIAL_HALVES)] = np.roll(SPECIAL_HALVES, 3 * i)
        blocks[:, offset : offset + 2] = halves.astype("<u2").view(np.uint8).reshape(BLOCKS, 2)
    return blocks


def float_values(rng, kind):
    """All kinds of bit patterns, NaN left out: its payload is nobody's contract."""
    size = FLOATS[kind]
    words = rng.integers(0, 1 << (8 * size), 256, dtype=np.uint64).astype(f"<u{size}")
    if kind == Type.F16:
        words[: len(SPECIAL_HALVES)] = SPECIAL_HALVES
        words[len(SPECIAL_HALVES) : len(SPECIAL_HALVES) + 2] = [0x7C00, 0xFC00]
        words = words[~np.isnan(words.view(np.float16))]
    elif kind == Type.BF16:
        words = words[(words & 0x7FFF) <= 0x7F80]
    else:
        words = words[~np.isnan(words.view(np.float32))]
    return words.view(np.uint8)


def main():
    out_dir = pathlib.Path(__file__).parent / "dequant"
    out_dir.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    for kind in [*FLOATS, *HALVES]:
        data = (float_values if kind in FLOATS else quantised_blocks)(rng, kind)
        if kind in (Type.F32, Type.F16):  # the package only casts these
            expected = data.view("<f4" if kind == Type.F32 else "<f2").astype("<f4")
        else:
            expected = dequantize(data, kind).astype("<f4")
        document = {
            "type": int(kind),
            "bytes": data.tobytes().hex(),
            "expected": expected.tobytes().hex(),
        }
        (out_dir / f"{kind.name}.json").write_text(json.dumps(document, indent=0) + "\n")


if __name__ == "__main__":
    main()
