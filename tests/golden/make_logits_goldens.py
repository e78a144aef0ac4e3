#!/usr/bin/env python3
"""Writes tests/golden/logits/<model>.json: what the reference implementation computes for a few prompts.

The reference is Hugging Face transformers in float32 on the CPU, on the weights it dequantises from the GGUF file
itself. Needs torch, transformers and gguf; the tests need none of them. The format is described in README.md beside
this file.

usage: make_logits_goldens.py MODELS_DIR
"""

import argparse
import hashlib
import json
import os
import pathlib
import random

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"

import torch  # noqa: E402
import transformers  # noqa: E402

MODELS = {
    "smollm2-135m": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "qwen2.5-coder-0.5b": "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf",
}
TOP = 256
SAMPLE = 512
POSITIONS = 8
CONTINUATION = 24
HIDDEN_HEAD = 8

SHORT_TEXT = "The lighthouse keeper climbed the stairs each evening, lit the lamp, and wrote the weather into his"
CODE = '''def merge_intervals(intervals):
    """Merges overlapping [start, end) intervals."""
    intervals = sorted(intervals)
    merged = []
    for start, end in intervals:
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
'''
CJK_EMOJI = "今日は天気がいいので、公園を散歩しました。我们明天去北京看长城。오늘은 비가 옵니다. 🚀🌸👩‍🚀 Ça déjà vu — naïve coöperation:"
CHAT = [{"role": "user", "content": "Name the three primary colours and say in one sentence what they are used for."}]

PLACES = ["the north quay", "warehouse seven", "the dry dock", "the customs house", "the grain silo", "pier eleven"]
GOODS = ["barrels of salt", "crates of tea", "bales of wool", "sacks of rye", "drums of oil", "coils of rope"]
CREWS = ["the morning crew", "the night watch", "two apprentices", "the harbour master", "a visiting captain"]
DEEDS = ["counted", "moved", "weighed", "inspected", "sealed", "reported"]
REMARKS = [
    "Nothing else was out of the ordinary.",
    "The tide was late and the paperwork later.",
    "A light rain fell until noon.",
    "The figures agreed with the ledger of the day before.",
    "One label was illegible and had to be written again.",
]


def harbour_log(entries, code, code_at, seed):
    """A synthetic log with one fact hidden in it."""
    rng = random.Random(seed)
    lines = []
    for day in range(entries):
        lines.append(
            f"Day {day + 1}: {rng.choice(CREWS)} {rng.choice(DEEDS)} {rng.randint(3, 90)} {rng.choice(GOODS)} at "
            f"{rng.choice(PLACES)}. {rng.choice(REMARKS)}"
        )
        if day == code_at:
            lines.append(f"The access code of the lamp room was changed to {code}.")
    return "\n".join(lines)


def question(entries, code, code_at, seed):
    text = harbour_log(entries, code, code_at, seed)
    return [{"role": "user", "content": f"{text}\n\nWhat is the access code of the lamp room?"}]


def prompts(tokenizer):
    def chat(messages):
        return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)

    return {
        "short_text": SHORT_TEXT,
        "code": CODE,
        "cjk_emoji": CJK_EMOJI,
        "chat": chat(CHAT),
        "chat_700": chat(question(22, "7319", 7, 1)),
        "chat_2000": chat(question(66, "4826", 29, 2)),
    }


def short(values):
    """Seven significant digits: well below any tolerance of a test, and short in the file."""
    return [float(f"{v:.7g}") for v in values]


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 24):
            digest.update(chunk)
    return digest.hexdigest()


def margin(logits):
    top = logits.topk(2).values
    return float(f"{(top[0] - top[1]).item():.4g}")


def greedy(model, logits, cache):
    tokens, margins = [], []
    for _ in range(CONTINUATION):
        tokens.append(logits.argmax().item())
        margins.append(margin(logits))
        out = model(torch.tensor([[tokens[-1]]]), past_key_values=cache, use_cache=True)
        logits, cache = out.logits[0, -1], out.past_key_values
    return tokens, margins


def golden(model, name, text, ids):
    out = model(torch.tensor([ids]), use_cache=True, output_hidden_states=True)
    logits = out.logits[0]
    last = logits[-1]
    top = last.topk(TOP)
    stride = last.numel() // SAMPLE
    positions = sorted({(len(ids) - 1) * i // POSITIONS for i in range(POSITIONS)})
    # hidden_states[i] enters layer i; the last one is already normalised, so it is left out.
    hidden = [h[0, -1] for h in out.hidden_states[:-1]]
    tokens, margins = greedy(model, last, out.past_key_values)
    return {
        "name": name,
        "text": text,
        "tokens": ids,
        "top_ids": top.indices.tolist(),
        "top_logits": short(top.values.tolist()),
        "sample_stride": stride,
        "sample_logits": short(last[: stride * SAMPLE : stride].tolist()),
        "logits_mean": last.mean().item(),
        "logits_std": last.std().item(),
        "positions": [{"position": p, "argmax": logits[p].argmax().item(), "margin": margin(logits[p])} for p in positions],
        "hidden_norms": short([h.norm().item() for h in hidden]),
        "hidden_heads": [short(h[:HIDDEN_HEAD].tolist()) for h in hidden],
        "greedy": tokens,
        "greedy_margins": margins,
    }


def exact(values):
    """Nine significant digits: enough to read back the same float32."""
    return [float(f"{v:.9g}") for v in values.tolist()]


def weight_samples(model):
    """The ends of a few rows of matrices in three layers, and samples of the vectors; stacked as the engine has them."""
    layers = model.model.layers
    matrices = [("embedding", 0, model.get_input_embeddings().weight), ("output", 0, model.get_output_embeddings().weight)]
    vectors = []
    for i in (0, len(layers) // 2, len(layers) - 1):
        attention, mlp = layers[i].self_attn, layers[i].mlp
        qkv = (attention.q_proj, attention.k_proj, attention.v_proj)
        matrices += [
            ("qkv", i, torch.cat([p.weight for p in qkv])),
            ("attention_out", i, attention.o_proj.weight),
            ("gate_up", i, torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])),
            ("ffn_down", i, mlp.down_proj.weight),
        ]
        vectors += [
            ("attention_norm", i, layers[i].input_layernorm.weight),
            ("ffn_norm", i, layers[i].post_attention_layernorm.weight),
        ]
        if attention.q_proj.bias is not None:
            vectors.append(("qkv_bias", i, torch.cat([p.bias for p in qkv])))
    rows = []
    for name, layer, matrix in matrices:
        # Rows of every part of a stacked matrix, even and odd ones.
        for row in sorted({(matrix.shape[0] - 1) * k // 7 for k in range(8)}):
            values = matrix[row]
            rows.append({"matrix": name, "layer": layer, "row": row, "head": exact(values[:3]), "tail": exact(values[-2:])})
    return rows, [{"vector": n, "layer": i, "every_29th": exact(v[::29])} for n, i, v in vectors]


def dumps(document):
    """One line for each list of numbers, so that differences can be read."""
    lines = ["{"]
    for key, value in document.items():
        if isinstance(value, str):
            lines.append(f"{json.dumps(key)}: {json.dumps(value)},")
    for key in ("weights", "vectors"):
        entries = ",\n".join(" " + json.dumps(entry, separators=(",", ":")) for entry in document[key])
        lines.append(f"{json.dumps(key)}: [\n{entries}\n],")
    lines.append('"prompts": [')
    for i, prompt in enumerate(document["prompts"]):
        fields = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in prompt.items())
        lines.append(" {\n" + fields + "\n }" + ("," if i + 1 < len(document["prompts"]) else ""))
    return "\n".join(lines + ["]", "}"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models_dir", type=pathlib.Path)
    models_dir = parser.parse_args().models_dir
    out_dir = pathlib.Path(__file__).parent / "logits"
    out_dir.mkdir(exist_ok=True)
    torch.manual_seed(0)
    for tag, file in MODELS.items():
        tokenizer = transformers.AutoTokenizer.from_pretrained(models_dir, gguf_file=file)
        model = transformers.AutoModelForCausalLM.from_pretrained(models_dir, gguf_file=file, dtype=torch.float32).eval()
        document = {
            "model_file": file,
            "model_sha256": sha256(models_dir / file),
            "reference": f"transformers {transformers.__version__}, torch {torch.__version__}, float32, CPU",
            "weights": [],
            "vectors": [],
            "prompts": [],
        }
        with torch.no_grad():
            document["weights"], document["vectors"] = weight_samples(model)
            for name, text in prompts(tokenizer).items():
                ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                document["prompts"].append(golden(model, name, text, ids))
                print(tag, name, len(ids), "tokens:", repr(tokenizer.decode(document["prompts"][-1]["greedy"])), flush=True)
        (out_dir / f"{tag}.json").write_text(dumps(document))


if __name__ == "__main__":
    main()
