#!/usr/bin/env python3
"""llama.cpp as a driver (lines.py): flash attention on, all threads, KV cache in f16 (its default).

ops: tune {tokens, sizes}: tries these sizes of its physical batch (n_ubatch, n_batch with it) and keeps the fastest;
     prefill {tokens}: from an empty cache to the last token's logits;
     resume {tokens}: the same, but what the tokens before have in common with these stays in the cache;
     open {tokens}, decode {steps}: prefills, untimed; then so many greedy steps, timed; decode may be repeated.
"""

import argparse

import gguf
import llama_cpp
import numpy as np
from lines import serve, timed


def weight_bytes(model: str) -> int:
    """What a decode step reads of the weights: all but the embedding's other rows, where the output has a matrix."""
    tensors = {tensor.name: int(tensor.n_bytes) for tensor in gguf.GGUFReader(model).tensors}
    if "output.weight" in tensors:
        del tensors["token_embd.weight"]
    return sum(tensors.values())


class Llama:
    def __init__(self, model: str, threads: int, context: int):
        self.threads, self.tokens_max = threads, context
        self.log = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self.log, None)
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(model.encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {model}")
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.ctx, self.ubatch, self.cached = None, 512, []
        self.use(self.ubatch)

    def use(self, ubatch: int) -> None:
        """A new context of this physical batch. The logical one is as large: larger ones are only cut again."""
        if self.ctx:
            llama_cpp.llama_free(self.ctx)
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = self.tokens_max
        parameters.n_batch = parameters.n_ubatch = self.ubatch = ubatch
        parameters.n_threads = parameters.n_threads_batch = self.threads
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self.ctx = llama_cpp.llama_init_from_model(self.model, parameters)
        if not self.ctx:
            raise RuntimeError(f"llama.cpp has no memory for a context of {self.tokens_max} tokens")
        self.batch = llama_cpp.llama_batch_init(ubatch, 0, 1)

    def run(self, tokens: list[int], position: int, last: bool) -> None:
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, position + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = last and i == len(tokens) - 1
        if (status := llama_cpp.llama_decode(self.ctx, batch)) != 0:
            raise RuntimeError(f"llama_decode says {status}")

    def best_token(self) -> int:
        logits = llama_cpp.llama_get_logits_ith(self.ctx, -1)  # waits for the computation
        return int(np.argmax(np.ctypeslib.as_array(logits, (self.vocab,))))

    def forward(self, tokens: list[int], first: int = 0) -> int:
        """From token `first` on: the cache keeps those before it."""
        llama_cpp.llama_memory_seq_rm(llama_cpp.llama_get_memory(self.ctx), 0, first, -1)
        self.cached = tokens
        for i in range(first, len(tokens), self.ubatch):
            part = tokens[i : i + self.ubatch]
            self.run(part, i, i + len(part) == len(tokens))
        self.position, self.token = len(tokens), self.best_token()
        return self.token

    def tune(self, request: dict) -> dict:
        seconds = {}
        for ubatch in request["sizes"]:
            self.use(ubatch)
            if len(request["sizes"]) == 1:
                break
            self.forward(request["tokens"][:256])
            # CPU time: another process on the machine must not choose.
            seconds[ubatch] = timed(lambda: self.forward(request["tokens"]))["cpu_s"]
        if seconds:
            self.use(min(seconds, key=seconds.get))
        return {"n_ubatch": self.ubatch, "cpu_s": seconds}

    def prefill(self, request: dict) -> dict:
        answer = timed(lambda: self.forward(request["tokens"]))
        return {"token": answer.pop("result"), **answer}

    def resume(self, request: dict) -> dict:
        tokens = request["tokens"]
        common = next((i for i, pair in enumerate(zip(tokens, self.cached)) if pair[0] != pair[1]), 0)
        common = min(common, len(tokens) - 1)
        answer = timed(lambda: self.forward(tokens, common))
        return {"token": answer.pop("result"), "cached_tokens": common, **answer}

    def open(self, request: dict) -> dict:
        self.forward(request["tokens"])
        return {}

    def decode(self, request: dict) -> dict:
        def steps() -> None:
            for _ in range(request["steps"]):
                self.run([self.token], self.position, True)
                self.position, self.token = self.position + 1, self.best_token()

        answer = timed(steps)
        del answer["result"]
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="GGUF file")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--context", type=int, required=True, help="tokens")
    arguments = parser.parse_args()

    def make():
        peer = Llama(arguments.model, arguments.threads, arguments.context)
        about = {"version": f"llama-cpp-python {llama_cpp.__version__}", "weight_bytes": weight_bytes(arguments.model)}
        handlers = {"tune": peer.tune, "prefill": peer.prefill, "resume": peer.resume, "open": peer.open, "decode": peer.decode}
        return about, handlers

    serve(make)


if __name__ == "__main__":
    main()
