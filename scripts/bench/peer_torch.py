#!/usr/bin/env python3
"""PyTorch and transformers as a driver (lines.py): bf16, scaled_dot_product_attention, all threads.

ops: prefill {tokens}: the forward pass with a KV cache, logits of the last token only;
     attention {heads, kv_heads, head_dim, tokens, threads}: causal scaled_dot_product_attention alone.
"""

import argparse
import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TQDM_DISABLE"] = "1"

import torch  # noqa: E402
from lines import serve, timed  # noqa: E402


class Torch:
    def __init__(self, model: str | None, threads: int):
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.model = None
        if model is not None:
            import transformers

            self.model = transformers.AutoModelForCausalLM.from_pretrained(
                model, dtype=torch.bfloat16, attn_implementation="sdpa"
            ).eval()

    def prefill(self, request: dict) -> dict:
        ids = torch.tensor([request["tokens"]])
        answer = timed(lambda: self.model(ids, use_cache=True, logits_to_keep=1).logits[0, -1].argmax().item())
        return {"token": answer.pop("result"), **answer}

    def attention(self, request: dict) -> dict:
        torch.set_num_threads(request["threads"])
        heads, kv_heads = request["heads"], request["kv_heads"]
        shape = (request["tokens"], request["head_dim"])
        q = torch.randn(1, heads, *shape, dtype=torch.bfloat16)
        # Keys and values are repeated for the query heads beforehand, untimed: what is fastest for torch.
        k, v = (
            torch.randn(1, kv_heads, *shape, dtype=torch.bfloat16).repeat_interleave(heads // kv_heads, 1)
            for _ in range(2)
        )
        answer = timed(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))
        del answer["result"]
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="folder with safetensors; without it only attention can be measured")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()

    def make():
        import transformers

        peer = Torch(arguments.model, arguments.threads)
        about = {"version": f"torch {torch.__version__}, transformers {transformers.__version__}"}
        return about, {"prefill": peer.prefill, "attention": peer.attention}

    serve(make)


if __name__ == "__main__":
    main()
