"""The load test, run against a server that answers at once: requests, report and exit status."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from support import HOME, ROOT, tool

sys.path.insert(0, str(ROOT / "proto"))
PROTOS, SERVICES = grpc.protos_and_services("slimfill/v1/inference.proto")
CHARACTERS_PER_TOKEN = 5  # of the fake tokeniser; not what the load test guesses first


class FakeServer(SERVICES.InferenceServiceServicer):
    """Counts characters as tokens, records FirstToken calls, and fails those that fail_when names."""

    def __init__(self):
        self.calls = []
        self.fail_when = lambda request: False

    def Tokenize(self, request, context):
        characters = sum(len(message.content) for message in request.chat.messages)
        return PROTOS.TokenizeResponse(count=characters // CHARACTERS_PER_TOKEN)

    def FirstToken(self, request, context):
        self.calls.append(request)
        if self.fail_when(request):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")
        return PROTOS.FirstTokenResponse(token=PROTOS.Token(text="a", token_id=1))


@pytest.fixture
def fake():
    servicer = FakeServer()
    server = grpc.server(ThreadPoolExecutor(4))
    SERVICES.add_InferenceServiceServicer_to_server(servicer, server)
    serving = grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")  # HealthCheckResponse: SERVING
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": serving}),))
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield servicer
    server.stop(None).wait()


def load_test(*arguments: str) -> subprocess.CompletedProcess:
    tool("ghz")  # says what to run when the tools are missing
    return subprocess.run([ROOT / "loadtest/run.sh", *arguments], capture_output=True, text=True, timeout=300,
                          env=os.environ | {"SLIMFILL_HOME": str(HOME)})


def mode_of(request) -> str:
    return PROTOS.PruningMode.Name(request.pruning.mode).removeprefix("PRUNING_MODE_").lower()


def test_measures_both_modes_on_the_same_cold_prompts(fake, tmp_path):
    done = load_test("--server", fake.address, "--requests", "5", "--rounds", "2", "--concurrency", "2",
                     "--prompt-tokens", "2000", "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr

    prompts = {mode: sorted(call.chat.messages[0].content for call in fake.calls if mode_of(call) == mode)
               for mode in ("auto", "off")}
    assert prompts["auto"] == prompts["off"]
    assert len(prompts["auto"]) == len(set(prompts["auto"])) == 5
    for call in fake.calls:
        assert call.no_store
        (message,) = call.chat.messages
        assert abs(len(message.content) / CHARACTERS_PER_TOKEN - 2000) <= 20
        assert "Question:" in message.content[-100:]
    assert [mode_of(call) for call in fake.calls] == ["auto"] * 3 + ["off"] * 3 + ["auto"] * 2 + ["off"] * 2

    report = json.loads((tmp_path / "report.json").read_text())
    for mode in ("pruned", "dense"):
        figures = report["modes"][mode]
        assert figures["requests"] == len(figures["latencies_ms"]) == 5 and figures["errors"] == {}
        assert 0 < figures["ttft_ms"]["p50"] <= figures["ttft_ms"]["p95"] <= figures["ttft_ms"]["p99"]
        assert figures["ttft_ms"]["p99"] == max(figures["latencies_ms"])
        assert figures["requests_per_second"] > 0
    assert report["speedup"]["low"] <= report["speedup"]["median_ratio"] <= report["speedup"]["high"]
    assert f"{report['speedup']['median_ratio']:.2f}x" in (tmp_path / "report.md").read_text()


def test_same_seed_makes_the_same_prompts(fake, tmp_path):
    made = []
    for seed in ("7", "7", "8"):
        done = load_test("--server", fake.address, "--requests", "1", "--prompt-tokens", "300", "--pruning", "auto",
                         "--seed", seed, "--output", str(tmp_path))
        assert done.returncode == 0, done.stdout + done.stderr
        made.append((tmp_path / "requests-auto.json").read_text())
    assert made[0] == made[1] != made[2]
    assert {mode_of(call) for call in fake.calls} == {"auto"}


def test_reports_failed_calls_and_fails(fake, tmp_path):
    fake.fail_when = lambda request: mode_of(request) == "off"
    done = load_test("--server", fake.address, "--requests", "2", "--prompt-tokens", "300", "--output", str(tmp_path))
    assert done.returncode != 0 and "some calls failed" in done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["modes"]["dense"]["errors"] == {"ResourceExhausted": 2}
    assert "ttft_ms" not in report["modes"]["dense"] and report["modes"]["pruned"]["errors"] == {}
    assert "speedup" not in report


@pytest.mark.parametrize("arguments, complaint", [
    (["--requests", "0"], "--requests is '0'"),
    (["--pruning", "some"], "--pruning is 'some'"),
    (["--frequency", "1"], "unknown argument '--frequency'"),
    (["--seed"], "--seed needs a value"),
    (["--server", "127.0.0.1:1"], "no server is ready at 127.0.0.1:1"),
])
def test_says_what_is_wrong(arguments, complaint, tmp_path):
    done = load_test("--output", str(tmp_path), *arguments)
    assert done.returncode != 0 and complaint in done.stderr, done.stderr
