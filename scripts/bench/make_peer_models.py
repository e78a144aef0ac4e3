#!/usr/bin/env python3
"""Makes the peers' copies of a GGUF model: BF16 for llama.cpp (its own quantize API) and safetensors for transformers.

Both hold the weights that the GGUF file dequantises to, so every engine computes with the same model. What is already
there stays. Runs in the peers' environment.
"""

import argparse
import ctypes
import os
import pathlib

BF16_GGUF = "bf16.gguf"
TORCH_FOLDER = "torch-bf16"


def make_bf16_gguf(source: pathlib.Path, target: pathlib.Path) -> None:
    import llama_cpp

    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_BF16
    parameters.allow_requantize = True
    part = target.with_suffix(".part")
    if llama_cpp.llama_model_quantize(str(source).encode(), str(part).encode(), ctypes.byref(parameters)) != 0:
        raise SystemExit(f"error: llama.cpp could not convert {source}")
    part.rename(target)


def make_torch_folder(source: pathlib.Path, target: pathlib.Path) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TQDM_DISABLE"] = "1"
    import torch
    import transformers

    # Unpacked: left in the file's blocks, its weights would not be multiplied in bf16.
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        dtype=torch.bfloat16,
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    # The file has an output matrix beside the embedding (tests/golden/README.md); saved as tied it would be lost.
    config = type(loaded.config)(**{**loaded.config.to_dict(), "tie_word_embeddings": False})
    config.__dict__.pop("quantization_config", None)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(loaded.state_dict(), strict=True)
    part = target.with_suffix(".part")
    model.save_pretrained(part)
    part.rename(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gguf", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, make in ((BF16_GGUF, make_bf16_gguf), (TORCH_FOLDER, make_torch_folder)):
        if not (arguments.out / name).exists():
            print(f"    making {name}", flush=True)
            make(arguments.gguf, arguments.out / name)


if __name__ == "__main__":
    main()
