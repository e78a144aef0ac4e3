#!/usr/bin/env python3
"""Writes tests/golden/models: tiny models in Hugging Face's own form, and what transformers computes with them.

One directory for each architecture, as save_pretrained leaves it, with random weights and a vocabulary of some 350
tokens; beside it NAME.json with token ids, logits and greedy answers in float32. README.md beside this file describes
them. Needs torch, transformers and tokenizers; the tests need none of them.

usage: make_tiny_models.py
"""

import json
import os
import pathlib
import random
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"

import tokenizers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from tokenizers import Regex, normalizers, pre_tokenizers, processors  # noqa: E402

from make_logits_goldens import margin, short  # noqa: E402
from make_tokenizer_goldens import (  # noqa: E402
    LLAMA3_TEMPLATE, SENTENCES, SPECIAL_TEXTS, conversations, encode, pre_tokenizer)

OUT = pathlib.Path(__file__).parent / "models"
GRID = 64  # weights are multiples of 1/64: the same number in every dtype, and the files compress
CONTINUATION = 24
PROMPT_TOKENS = (5, 70, 300)

CHATML = (
    "{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\nYou help.<|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}")
CHATML_CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA3_CONTROL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
SHAPE = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 512, "rms_norm_eps": 1e-6}
LLAMA31_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64}

# `edit` brings files into the form that most published models have, which this version of transformers does not write.
MODELS = {
    "qwen2": {
        "config": transformers.Qwen2Config(**SHAPE, num_hidden_layers=3, tie_word_embeddings=True, rope_theta=1e6),
        "dtype": torch.bfloat16, "pre": "qwen2", "control": CHATML_CONTROL, "eos": "<|im_end|>", "template": CHATML,
        "stops": ["<|im_end|>", "<|endoftext|>"], "edit": "published"},
    "qwen3": {
        "config": transformers.Qwen3Config(**SHAPE, num_hidden_layers=2, head_dim=32, tie_word_embeddings=True),
        "dtype": torch.bfloat16, "pre": "qwen2", "control": CHATML_CONTROL, "eos": "<|im_end|>", "template": CHATML,
        "stops": ["<|im_end|>"], "shard": "80KB"},
    "llama": {
        "config": transformers.LlamaConfig(**SHAPE, num_hidden_layers=2, tie_word_embeddings=True,
                                           rope_parameters={"rope_theta": 500.0, **LLAMA31_ROPE}),
        "dtype": torch.float16, "pre": "llama-bpe", "control": LLAMA3_CONTROL, "eos": "<|end_of_text|>",
        "bos": "<|begin_of_text|>", "template": LLAMA3_TEMPLATE, "stops": ["<|end_of_text|>", "<|eot_id|>"],
        "edit": "published"},
    "mistral": {
        "config": transformers.MistralConfig(**{**SHAPE, "max_position_embeddings": 4096}, num_hidden_layers=2,
                                             head_dim=16, sliding_window=512),
        "dtype": torch.bfloat16, "norms": torch.float32, "pre": "tekken", "control": ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"],
        "eos": "</s>", "bos": "<s>", "stops": ["</s>"]},
}


def pre_tokenizer_of(pre):
    if pre != "tekken":
        return pre_tokenizer(pre)
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    tekken = (rf"[^\r\n\p{{L}}\p{{N}}]?{upper}*{lower}+|[^\r\n\p{{L}}\p{{N}}]?{upper}+{lower}*|\p{{N}}"
              r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(tekken), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def tokenizer_of(spec):
    """A small vocabulary, trained and wired as the family's published tokenizer.json is."""
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=spec["pre"] in ("llama-bpe", "tekken")))
    if spec["pre"] == "qwen2":
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizer_of(spec["pre"])
    backend.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=340, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                             show_progress=False)
    backend.train_from_iterator(SENTENCES[:10] * 3 + SENTENCES[10:], trainer)
    backend.add_special_tokens(spec["control"])
    backend.add_tokens([tokenizers.AddedToken(text, normalized=False) for text in ("<tool_call>", "</tool_call>")])
    byte_level = processors.ByteLevel(trim_offsets=False)
    backend.post_processor = byte_level
    if "bos" in spec:
        bos = spec["bos"]
        template = processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B",
                                                 special_tokens=[(bos, backend.token_to_id(bos))])
        backend.post_processor = processors.Sequence([byte_level, template])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=spec["eos"],
                                                     bos_token=spec.get("bos"))
    tokenizer.chat_template = spec.get("template")
    return tokenizer


def fill(model, seed):
    """Matrices normal with deviation 1/sqrt(columns), as the tests' own tiny models: logits differ clearly."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        values = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() > 1:
            values /= parameter.shape[1] ** 0.5
        elif name.endswith("bias"):
            values *= 0.2
        else:
            values = 1 + 0.2 * values
        parameter.copy_(torch.round(values * GRID) / GRID)


def edit_json(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def as_published(folder):
    """config.json with rope_theta and rope_scaling, merges as strings, the template within tokenizer_config.json."""

    def config(document):
        rope = document.pop("rope_parameters")
        document["rope_theta"] = rope.pop("rope_theta")
        document["rope_scaling"] = rope if rope["rope_type"] != "default" else None

    def merges(document):
        document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]

    template = (folder / "chat_template.jinja").read_text()
    edit_json(folder / "config.json", config)
    edit_json(folder / "tokenizer.json", merges)
    edit_json(folder / "tokenizer_config.json", lambda document: document.update(chat_template=template))
    (folder / "chat_template.jinja").unlink()


def greedy(model, ids):
    tokens, margins = [], []
    out = model(torch.tensor([ids]), use_cache=True)
    for _ in range(CONTINUATION):
        logits = out.logits[0, -1]
        tokens.append(logits.argmax().item())
        margins.append(margin(logits))
        out = model(torch.tensor([[tokens[-1]]]), past_key_values=out.past_key_values, use_cache=True)
    return tokens, margins


def golden(model, tokenizer):
    rng = random.Random(5)
    backend = tokenizer.backend_tokenizer
    text_ids = encode(backend, "\n".join(SENTENCES), False)
    prompts = []
    for count in PROMPT_TOKENS:
        begin = rng.randrange(len(text_ids) - count)
        ids = text_ids[begin:begin + count]
        logits = model(torch.tensor([ids])).logits[0, -1]
        tokens, margins = greedy(model, ids)
        prompts.append({"tokens": ids, "logits": short(logits.tolist()), "greedy": tokens, "greedy_margins": margins})
    texts = SENTENCES + SPECIAL_TEXTS
    document = {
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__}, "
                     f"tokenizers {tokenizers.__version__}, float32, CPU",
        "bos_first": tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id,
        "prompts": prompts,
        "texts": [{"text": text, "control": encode(backend, text, True), "plain": encode(backend, text, False)}
                  for text in texts],
        "chats": [],
    }
    if tokenizer.chat_template:
        document["chats"] = [
            {"messages": messages,
             "ids": tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)}
            for messages in conversations()]
    return document


def dumps(document):
    """One entry a line, so that differences can be read."""
    compact = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    fields = []
    for key, value in document.items():
        text = "[\n" + ",\n".join(map(compact, value)) + "\n]" if isinstance(value, list) else compact(value)
        fields.append(f"{compact(key)}: {text}")
    return "{\n" + ",\n".join(fields) + "\n}\n"


def make(name, spec, seed):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = tokenizer_of(spec)
    config = spec["config"]
    # A few rows more than tokens, as many published models have.
    config.vocab_size = (len(tokenizer) + 7) // 8 * 8
    config.bos_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    fill(model, seed)
    model.to(spec["dtype"])
    for module_name, module in model.named_modules():
        if module_name.endswith("norm"):
            module.to(spec.get("norms", spec["dtype"]))
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=[tokenizer.convert_tokens_to_ids(token) for token in spec["stops"]])
    model.save_pretrained(folder, max_shard_size=spec.get("shard", "1GB"))
    tokenizer.save_pretrained(folder)
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    document = golden(reference, tokenizer)
    if spec.get("edit") == "published":
        as_published(folder)
    (OUT / f"{name}.json").write_text(dumps(document), encoding="utf-8")
    print(name, len(tokenizer), "tokens, files:", sorted(path.name for path in folder.iterdir()))


def main():
    with torch.no_grad():
        for seed, (name, spec) in enumerate(MODELS.items()):
            make(name, spec, seed)


if __name__ == "__main__":
    main()
