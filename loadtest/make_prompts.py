#!/usr/bin/env python3
"""Writes FirstToken requests with long prompts of real text, for ghz: one JSON array per pruning mode.

The text is this repository's own files in a seeded order, filled up with the machine's C headers when that is not
enough, with a question at the end. The server's own tokeniser measures each prompt, so --prompt-tokens is what the
model sees. All modes get the same prompts, and no_store keeps the KV store's prefixes out of it: every request is cold.
"""

import argparse
import json
import random
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "proto"))

import grpc  # noqa: E402

PROTOS, SERVICES = grpc.protos_and_services("slimfill/v1/inference.proto")
SUFFIXES = {".cc", ".h", ".md", ".py", ".proto", ".sh", ".txt", ".cmake"}
MODES = {"auto": "PRUNING_MODE_AUTO", "off": "PRUNING_MODE_OFF"}
LENGTH_TOLERANCE = 0.01


def read_texts(folder: Path, suffixes: set[str], skip: set[str]) -> list[str]:
    """`path` and contents of every text file below a folder, in a fixed order."""
    texts = []
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        if file.suffix in suffixes and not skip & set(relative.parts) and file.is_file():
            texts.append(f"File {relative}:\n{file.read_text(encoding='utf-8', errors='ignore')}\n")
    return texts


def corpus(characters: int) -> list[str]:
    texts = read_texts(ROOT, SUFFIXES, {"build", ".git", "__pycache__"})
    if sum(map(len, texts)) < characters:
        texts += read_texts(Path("/usr/include"), {".h"}, set())
    available = sum(map(len, texts))
    if available < characters:
        sys.exit(f"error: {characters} characters of text are needed, this machine has {available}: lower --prompt-tokens")
    return texts


def draw(texts: list[str], random_source: random.Random, characters: int) -> str:
    """Files in random order, the first one from a random place, until there is enough."""
    order = random_source.sample(texts, len(texts))
    order[0] = order[0][random_source.randrange(len(order[0])):]
    text = ""
    for piece in order:
        text += piece
        if len(text) >= characters:
            break
    return text[:characters]


def chat(text: str, question: str):
    content = f"{text}\n\n{question}"
    return PROTOS.Chat(messages=[PROTOS.ChatMessage(role="user", content=content)])


def fit(stub, texts: list[str], random_source: random.Random, tokens: int, characters_per_token: float):
    """A chat of `tokens` tokens within the tolerance, its true length, and the ratio found on the way."""
    state = random_source.getstate()
    question = f"Question: what is file number {random_source.randrange(1000)} above about? Answer in one sentence."
    for _ in range(8):
        random_source.setstate(state)  # the same files at every length
        message = chat(draw(texts, random_source, int(tokens * characters_per_token)), question)
        count = stub.Tokenize(PROTOS.TokenizeRequest(chat=message, count_only=True), timeout=60).count
        if abs(count - tokens) <= max(1, LENGTH_TOLERANCE * tokens):
            break
        characters_per_token *= tokens / count
    return message, count, characters_per_token


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="HOST:PORT, for its tokeniser")
    parser.add_argument("--prompts", type=int, required=True)
    parser.add_argument("--prompt-tokens", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="folder: requests-MODE.json and prompts.json")
    arguments = parser.parse_args()

    random_source = random.Random(arguments.seed)
    texts = corpus(arguments.prompt_tokens * 6)
    chats, lengths, ratio = [], [], 3.5
    with grpc.insecure_channel(arguments.server, options=[("grpc.max_send_message_length", 64 << 20)]) as channel:
        stub = SERVICES.InferenceServiceStub(channel)
        for _ in range(arguments.prompts):
            message, count, ratio = fit(stub, texts, random_source, arguments.prompt_tokens, ratio)
            chats.append({"messages": [{"role": m.role, "content": m.content} for m in message.messages]})
            lengths.append(count)
    for name, mode in MODES.items():
        requests = [{"chat": one, "pruning": {"mode": mode}, "no_store": True} for one in chats]
        (arguments.output / f"requests-{name}.json").write_text(json.dumps(requests))
    (arguments.output / "prompts.json").write_text(json.dumps({"tokens": lengths, "seed": arguments.seed}))
    print(f"    {len(chats)} prompts of {min(lengths)} to {max(lengths)} tokens")


if __name__ == "__main__":
    main()
