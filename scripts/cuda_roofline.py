#!/usr/bin/env python3
"""A roofline model of the CUDA backend on paper: what each kernel takes at least, by its arithmetic and its bytes.

Nothing here is measured. A kernel takes max(FLOPs / peak, bytes / bandwidth): no launch overhead, no imperfect overlap,
no tail. Prints the tables of docs/cuda.md. Usage: scripts/cuda_roofline.py
"""
from dataclasses import dataclass

BF16, F32 = 2, 4


@dataclass(frozen=True)
class Gpu:
    name: str
    gemm_flops: float   # dense bf16 tensor cores, f32 sums, as the vendor states it
    mma_flops: float    # what mma.sync reaches of it: all before Hopper, about 0.62 there (the rest needs wgmma)
    f32_flops: float    # outside the tensor cores
    bandwidth: float    # bytes per second of device memory
    pcie: float         # bytes per second each way: 16 lanes, about 0.8 of what they are said to carry


GPUS = [Gpu("RTX 4090", 165e12, 165e12, 83e12, 1008e9, 25e9), Gpu("A100 80GB", 312e12, 312e12, 19.5e12, 2039e9, 25e9),
        Gpu("H100 SXM", 989e12, 0.62 * 989e12, 67e12, 3350e9, 50e9)]

# Llama-3.1-8B
LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FFN, VOCAB = 32, 4096, 32, 8, 128, 14336, 128256
Q, KV = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
BLOCK, PAGE_BYTES = 64, 64 * 2 * KV * BF16  # a block's keys and values in one layer
# engine/prune/plans/llama-3.1-8b.json: after which layer's attention how many tokens stay.
PLAN = {10: 8192, 20: 4096, 30: 2048}


@dataclass(frozen=True)
class Kernel:
    name: str
    kind: str  # gemm, mma or f32: which units do the arithmetic
    flops: float
    bytes: float

    def seconds(self, gpu):
        peak = {"gemm": gpu.gemm_flops, "mma": gpu.mma_flops, "f32": gpu.f32_flops}[self.kind]
        return max(self.flops / peak, self.bytes / gpu.bandwidth)

    def bound(self, gpu):
        peak = {"gemm": gpu.gemm_flops, "mma": gpu.mma_flops, "f32": gpu.f32_flops}[self.kind]
        return "arithmetic" if self.flops / peak > self.bytes / gpu.bandwidth else "memory"


def gemm(name, rows, cols_in, cols_out, out_bytes, accumulates=False):
    moved = rows * cols_in * BF16 + cols_in * cols_out * BF16 + rows * cols_out * out_bytes * (2 if accumulates else 1)
    return Kernel(name, "gemm", 2.0 * rows * cols_in * cols_out, moved)


def prefill_attention(n):
    """n rows attend causally to n keys; keys and values come from L2 for all but the first rows. With both norms."""
    pairs = n * (n + 1) / 2
    return [
        Kernel("RmsNorm (twice)", "f32", 2 * 5.0 * n * HIDDEN, 2 * n * HIDDEN * (F32 + BF16)),
        gemm("QKV", n, HIDDEN, Q + 2 * KV, BF16),
        Kernel("RopeAppend", "f32", 6.0 * n * (Q + KV), n * (2 * Q + 4 * KV) * BF16),
        Kernel("FlashAttention", "mma", 4.0 * pairs * Q, n * 2 * Q * BF16 + n * 2 * KV * BF16),
        gemm("attention out", n, Q, HIDDEN, F32, accumulates=True),
    ]


def prefill_ffn(n):
    return [
        gemm("gate and up", n, HIDDEN, 2 * FFN, BF16),
        Kernel("SiluMul", "f32", 10.0 * n * FFN, n * 3 * FFN * BF16),
        gemm("down", n, FFN, HIDDEN, F32, accumulates=True),
    ]


def prefill_layer(n):
    return prefill_attention(n) + prefill_ffn(n)


def compaction(n, kept):
    """The kept rows of the residual stream through the scratch memory to the front: read and written twice."""
    return Kernel("GatherRows", "f32", 0, 4 * kept * HIDDEN * F32)


def pruned_prefill(n):
    kernels = []
    for layer in range(LAYERS):
        kernels += prefill_attention(n)
        if PLAN.get(layer, n) < n:
            kernels.append(compaction(n, PLAN[layer]))
            n = PLAN[layer]
        kernels += prefill_ffn(n)
    return kernels


def scores(n, heads, queries=64):
    """AttentionMass: the keys twice, a query as two bf16."""
    return Kernel(f"AttentionMass, {heads} heads", "mma", 2 * 2 * 2.0 * heads * queries * n * HEAD_DIM,
                  2 * heads * n * HEAD_DIM * BF16)


def look_back(n, heads):
    """LookBack: all pairs twice; the keys come from L2 for all but the first rows."""
    return Kernel(f"LookBack, {heads} heads", "mma", 2 * 2.0 * heads * n * (n + 1) / 2 * HEAD_DIM,
                  2 * heads * n * HEAD_DIM * BF16)


def decode_layer(context):
    return [
        gemm("QKV", 1, HIDDEN, Q + 2 * KV, BF16),
        Kernel("DecodeAttention", "mma", 4.0 * 16 / (HEADS / KV_HEADS) * context * Q, context * 2 * KV * BF16),
        gemm("attention out", 1, Q, HIDDEN, F32, accumulates=True),
        *decode_ffn(),
    ]


def decode_ffn():
    return [
        gemm("gate and up", 1, HIDDEN, 2 * FFN, BF16),
        gemm("down", 1, FFN, HIDDEN, F32, accumulates=True),
    ]


def row(cells):
    return "| " + " | ".join(cells) + " |"


def kernel_table(kernels):
    lines = [row(["kernel", "GFLOP", "MB", *(f"{gpu.name} µs (bound by)" for gpu in GPUS)]),
             row(["---"] * (3 + len(GPUS)))]
    for kernel in kernels:
        cells = [f"{kernel.seconds(gpu) * 1e6:.0f} ({kernel.bound(gpu)})" for gpu in GPUS]
        lines.append(row([kernel.name, f"{kernel.flops / 1e9:.1f}", f"{kernel.bytes / 1e6:.0f}", *cells]))
    return "\n".join(lines)


def seconds(kernels, gpu):
    return sum(kernel.seconds(gpu) for kernel in kernels)


def whole_table():
    lines = [row(["", *(gpu.name for gpu in GPUS)]), row(["---"] * (1 + len(GPUS)))]
    for n in (8192, 32768):
        dense = [LAYERS * seconds(prefill_layer(n), gpu) for gpu in GPUS]
        lines.append(row([f"dense prefill, {n // 1024}k", *(f"{time * 1e3:.0f} ms" for time in dense)]))
        pruned = [seconds(pruned_prefill(n), gpu) for gpu in GPUS]
        cells = [f"{time * 1e3:.0f} ms, {before / time:.2f}x" for time, before in zip(pruned, dense)]
        lines.append(row([f"pruned prefill, {n // 1024}k", *cells]))
    output = gemm("output", 1, HIDDEN, VOCAB, F32)
    for n in (8192, 32768):
        cells = [f"{(LAYERS * seconds(decode_layer(n), gpu) + output.seconds(gpu)) * 1e3:.1f} ms" for gpu in GPUS]
        lines.append(row([f"decode step of one sequence, {n // 1024}k active tokens", *cells]))
    return "\n".join(lines)


def traffic_table():
    """What goes over PCIe, beside the computation that it runs behind."""
    lines = [row(["", "MB", *(f"{gpu.name}: PCIe, computation µs" for gpu in GPUS)]), row(["---"] * (2 + len(GPUS)))]

    def add(name, moved, kernels):
        cells = [f"{moved / gpu.pcie * 1e6:.0f}, {seconds(kernels, gpu) * 1e6:.0f}" for gpu in GPUS]
        lines.append(row([name, f"{moved / 1e6:.1f}", *cells]))

    for layer, kept in PLAN.items():
        exchanged = -(-kept // BLOCK // 10)  # beyond a tenth, decode exchanges; here just that
        hides = decode_ffn() + [gemm("QKV", 1, HIDDEN, Q + 2 * KV, BF16)]
        name = f"swap in of a tenth of layer {layer}'s {kept // BLOCK} blocks; FFN and next QKV"
        add(name, exchanged * PAGE_BYTES, hides)
    for n in (8192, 32768):
        entering, moved = n, 0
        for kept in PLAN.values():
            moved += entering // BLOCK * PAGE_BYTES if kept < entering else 0
            entering = min(entering, kept)
        name = f"prune layers' keys and values to the store, {n // 1024}k; the whole pruned prefill"
        add(name, moved, pruned_prefill(n))
    return "\n".join(lines)


def main():
    for n in (8192, 32768):
        print(f"\nPrefill, one layer, {n // 1024}k rows on {n // 1024}k keys:\n")
        print(kernel_table([*prefill_layer(n), scores(n, 1), scores(n, HEADS), look_back(n, 2)]))
    for n in (8192, 32768):
        print(f"\nDecode, one layer, one sequence of {n // 1024}k active tokens:\n")
        print(kernel_table(decode_layer(n)))
    print(f"\nThe whole model, dense and with the paper's plan:\n\n{whole_table()}")
    print(f"\nOver PCIe:\n\n{traffic_table()}")


if __name__ == "__main__":
    main()
