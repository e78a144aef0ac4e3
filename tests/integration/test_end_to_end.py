"""The real programs, the real model, real gRPC clients."""
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

import grpc
import pytest
from programs import BIN, HOME, QUESTION, ROOT, SMOLLM2, Program, server_arguments


@pytest.fixture(scope="module")
def stack(tmp_path_factory, generated):
    """A KV store and a server that uses it, shared by the tests that do no harm to them."""
    logs = tmp_path_factory.mktemp("logs")
    store = Program("slimfill-kvstore", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--memory=1GiB",
                    log=logs / "kvstore.log")
    server = Program("slimfill-server", *server_arguments(kv_store=store.address), log=logs / "server.log")
    yield server, store
    server.kill()
    store.kill()


def ask(address: str, document: str, question: str, *arguments: str) -> dict:
    result = subprocess.run([BIN / "slimfill", "ask", f"--server={address}", "--file=-", "--json", *arguments, question],
                            input=document, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


def metric(address: str, name: str) -> float:
    with urllib.request.urlopen(f"http://{address}/metrics") as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + " ", name + "{")))


def stub(address: str):
    from slimfill.v1 import inference_pb2_grpc

    return inference_pb2_grpc.InferenceServiceStub(grpc.insecure_channel(address))


def test_a_question_is_answered_with_and_without_pruning(stack, document):
    server, _ = stack
    dense = ask(server.address, document, QUESTION, "--pruning=off", "--no-store", "--max-tokens=24")
    pruned = ask(server.address, document, QUESTION, "--no-store", "--max-tokens=24")
    assert not dense["pruned"] and pruned["pruned"]
    assert "three" in pruned["text"]
    assert dense["prompt_tokens"] == pruned["prompt_tokens"] > 3500
    assert dense["kept_tokens"][-1] == dense["prompt_tokens"]
    assert pruned["kept_tokens"] == sorted(pruned["kept_tokens"], reverse=True)
    assert pruned["kept_tokens"][-1] < pruned["prompt_tokens"] / 3
    for answer in (dense, pruned):
        assert 0 < answer["output_tokens"] <= 24
        assert 0 < answer["prefill_ms"] <= answer["ttft_ms"] <= answer["total_ms"]
        assert answer["queue_ms"] >= 0 and answer["cached_tokens"] == 0
        assert answer["finish_reason"] in ("stop", "length")


def test_a_budget_of_everything_gives_the_dense_answer(stack, document):
    server, _ = stack
    dense = ask(server.address, document, QUESTION, "--pruning=off", "--no-store", "--max-tokens=32")
    kept = ask(server.address, document, QUESTION, "--pruning=keep=1", "--no-store", "--max-tokens=32")
    assert kept["text"] == dense["text"]
    assert not kept["pruned"]


def test_the_second_question_reuses_the_document(stack, document):
    server, store = stack
    own = "Tenant notes of this very test.\n\n" + document
    ask(server.address, own, QUESTION, "--max-tokens=2")
    for _ in range(100):
        warm = ask(server.address, own, "What may you not impose on the recipients?", "--max-tokens=2")
        if warm["cached_tokens"] > 3000:
            break
    assert warm["cached_tokens"] > 3000 and warm["cached_tokens"] % 64 == 0
    assert metric(store.metrics, "slimfill_kv_store_bytes") > 0


def test_the_heat_map_shows_every_token_and_that_the_answer_was_kept(stack, document, tmp_path):
    page = tmp_path / "map.html"
    answer = ask(stack[0].address, document, QUESTION, "--no-store", "--max-tokens=8", f"--heatmap={page}")
    data = json.loads(re.search(r'id="data">(.*?)</script', page.read_text(), re.DOTALL).group(1))
    texts = ["".join(part if isinstance(part, str) else part["question"] for part in block["text"])
             for block in data["blocks"]]
    assert document in "".join(texts) and QUESTION in "".join(texts)
    assert QUESTION in "".join(part["question"] for block in data["blocks"] for part in block["text"]
                               if not isinstance(part, str))
    assert data["prompt_tokens"] == answer["prompt_tokens"] and len(texts) == -(-answer["prompt_tokens"] // 64)
    assert data["pruned"] and len(data["prunes"]) == len(answer["kept_tokens"]) - 1
    kept = "".join(text for text, block in zip(texts, data["blocks"]) if block["lived"] == len(data["prunes"]))
    assert "three years" in kept and len(kept) < len(document) / 2


def test_a_python_client_streams(stack):
    from slimfill.v1 import inference_pb2 as api

    server, _ = stack
    request = api.GenerateRequest(
        chat=api.Chat(messages=[api.ChatMessage(role="user", content="Say hello in French.")]),
        sampling=api.SamplingParams(max_tokens=16))
    kinds, text = [], ""
    for event in stub(server.address).Generate(request):
        kind = event.WhichOneof("event")
        kinds.append(kind)
        if kind == "token":
            text += event.token.text
    assert kinds[0] == "admitted" and kinds[-1] == "finished" and "token" in kinds
    assert "onjour" in text or "alut" in text


def test_grpcurl_lists_the_services_and_health_answers(stack):
    server, store = stack
    for address, service in ((server.address, "slimfill.v1.InferenceService"), (store.address, "slimfill.v1.KvStoreService")):
        listed = subprocess.run([HOME / "bin/grpcurl", "-plaintext", address, "list"], check=True, capture_output=True, text=True)
        assert {service, "grpc.health.v1.Health"} <= set(listed.stdout.split())
        for name in ("", service):
            health = subprocess.run([HOME / "bin/grpcurl", "-plaintext", "-d", json.dumps({"service": name}), address,
                                     "grpc.health.v1.Health/Check"], check=True, capture_output=True, text=True)
            assert "SERVING" == json.loads(health.stdout)["status"]


@pytest.mark.parametrize("sampling, field", [
    ({"temperature": float("nan")}, "temperature"), ({"temperature": -1}, "temperature"),
    ({"top_p": float("inf")}, "top_p"), ({"top_k": -3}, "top_k"), ({"max_tokens": -1}, "max_tokens"),
    ({"repetition_penalty": 0}, "repetition_penalty"), ({"stop": [""]}, "stop"), ({"logprobs": 1000}, "logprobs")])
def test_a_bad_parameter_is_named(stack, sampling, field):
    from slimfill.v1 import inference_pb2 as api

    request = api.GenerateOnceRequest(text="hello", sampling=api.SamplingParams(**sampling))
    with pytest.raises(grpc.RpcError) as error:
        stub(stack[0].address).GenerateOnce(request)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert field in error.value.details()


def test_empty_and_overlong_prompts_are_refused_with_the_remedy(stack):
    from slimfill.v1 import inference_pb2 as api

    with pytest.raises(grpc.RpcError) as error:
        stub(stack[0].address).GenerateOnce(api.GenerateOnceRequest(text=""))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "empty" in error.value.details()
    with pytest.raises(grpc.RpcError) as error:
        stub(stack[0].address).GenerateOnce(api.GenerateOnceRequest(text="word " * 40000))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT and "--max-context" in error.value.details()


def test_a_request_survives_the_death_of_the_store(start, generated, document, tmp_path):
    from slimfill.v1 import inference_pb2 as api

    store = start("slimfill-kvstore", f"--listen=unix:{tmp_path / 'kv.sock'}", "--memory=1GiB")
    server = start("slimfill-server", *server_arguments(kv_store=store.address))
    request = api.GenerateRequest(
        chat=api.Chat(messages=[api.ChatMessage(role="user", content=document + "\n\n" + QUESTION)]),
        sampling=api.SamplingParams(max_tokens=60, ignore_eos=True))
    tokens, finished = 0, None
    for event in stub(server.address).Generate(request):
        if event.WhichOneof("event") == "token":
            tokens += 1
            if tokens == 5:
                store.kill()
        elif event.WhichOneof("event") == "finished":
            finished = event.finished
    assert tokens == 60 and finished is not None
    again = ask(server.address, document, QUESTION, "--max-tokens=4")
    assert again["cached_tokens"] == 0
    assert metric(server.metrics, "slimfill_kv_store_errors_total") > 0
    assert metric(server.metrics, "slimfill_kv_store_up") == 0


def test_a_running_request_is_finished_before_the_server_stops(start, generated):
    from slimfill.v1 import inference_pb2 as api

    server = start("slimfill-server", *server_arguments(SMOLLM2))
    request = api.GenerateRequest(text="Once upon a time", sampling=api.SamplingParams(max_tokens=40, ignore_eos=True))
    stream = stub(server.address).Generate(request)
    kinds = []
    for event in stream:
        kinds.append(event.WhichOneof("event"))
        if kinds.count("token") == 1 and kinds[-1] == "token":
            server.process.send_signal(signal.SIGTERM)
    assert kinds.count("token") == 40 and kinds[-1] == "finished"
    assert server.process.wait(timeout=60) == 0


def run_server(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([BIN / "slimfill-server", *arguments], capture_output=True, text=True, timeout=60)


def test_bad_model_files_are_refused_with_a_clear_error(tmp_path):
    missing = run_server(*server_arguments(tmp_path / "none.gguf"))
    assert missing.returncode == 2 and "none.gguf" in missing.stderr and "scripts/setup.sh" in missing.stderr
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(SMOLLM2.read_bytes()[:50_000_000])
    result = run_server(*server_arguments(truncated))
    assert result.returncode == 1 and "truncated.gguf" in result.stderr and "cut off" in result.stderr
    corrupt = tmp_path / "corrupt.gguf"
    corrupt.write_bytes(b"GGUF" + os.urandom(4096))
    result = run_server(*server_arguments(corrupt))
    assert result.returncode == 1 and "corrupt.gguf" in result.stderr


def test_a_port_in_use_and_a_bad_configuration_are_named(stack, tmp_path):
    taken = run_server(*server_arguments(SMOLLM2, listen=stack[0].address))
    assert taken.returncode == 1 and "--listen" in taken.stderr
    config = tmp_path / "config.yaml"
    config.write_text("max-contxt: 100\n")
    result = run_server("--config", str(config))
    assert result.returncode != 0 and "max-contxt" in result.stderr and "max-context" in result.stderr


def test_the_dashboard_shows_what_a_live_server_exports(stack):
    server, store = stack
    urls = f"http://{server.metrics}/metrics,http://{store.metrics}/metrics"
    result = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", ROOT / "tests/deploy/test_monitoring.py"],
                            env={**os.environ, "SLIMFILL_METRICS_URL": urls}, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
