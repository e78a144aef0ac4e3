"""The KV store as other languages and several servers use it: an ordinary protobuf client, prefixes shared and kept
apart, a store that is murdered again and again."""
import hashlib
import os
import random
import signal
import threading

import grpc
import pytest
import xxhash
from programs import QUESTION, SMOLLM2, Program, server_arguments

from test_end_to_end import metric, stub

PAGE = 64 * 1024


def checksum(key: bytes, offset: int, data: bytes) -> int:
    seed = (int.from_bytes(key[:8], "little") + offset) % 2**64
    return xxhash.xxh3_64_intdigest(data, seed)


class StoreClient:
    """Blocks byte for byte, with nothing but the .proto file and its comments at hand."""

    def __init__(self, address: str):
        from slimfill.v1 import kvstore_pb2, kvstore_pb2_grpc

        self.api = kvstore_pb2
        self.stub = kvstore_pb2_grpc.KvStoreServiceStub(grpc.insecure_channel(address))

    def put(self, blocks: list[tuple[bytes, bytes, bytes]], lease: int = 0, chunk: int = 100_000) -> list[int]:
        """Stores (key, parent, value)s; returns the status codes."""

        def messages():
            for ordinal, (key, parent, value) in enumerate(blocks):
                announced = [self.api.PutBlock(key=key, parent=parent, total_bytes=len(value))]
                for offset in range(0, len(value), chunk):
                    data = value[offset:offset + chunk]
                    yield self.api.PutRequest(lease=lease, blocks=announced, chunks=[self.api.Chunk(
                        ordinal=ordinal, offset=offset, checksum=checksum(key, offset, data), data=data)])
                    announced = []

        response = self.stub.Put(messages(), timeout=60)
        assert [status.ordinal for status in response.statuses] == list(range(len(blocks)))
        return [status.code for status in response.statuses]

    def fetch(self, ranges: list[tuple[bytes, int, int]], lease: int = 0, **options) -> list[bytes | int]:
        """The bytes of (key, offset, length)s, or the code of what went wrong."""
        request = self.api.FetchRequest(lease=lease, ranges=[
            self.api.FetchRange(key=key, offset=offset, length=length) for key, offset, length in ranges], **options)
        found: list[bytes | int] = [b""] * len(ranges)
        for response in self.stub.Fetch(request, timeout=60):
            for failure in response.failures:
                found[failure.ordinal] = failure.code
            for part in response.chunks:
                key, offset, _ = ranges[part.ordinal]
                assert part.offset == offset + len(found[part.ordinal]), "chunks come in order"
                assert part.checksum == checksum(key, part.offset, part.data), "a checksum does not hold"
                found[part.ordinal] += part.data
        return found


def block(name: str, size: int) -> tuple[bytes, bytes]:
    return hashlib.sha256(name.encode()).digest(), random.Random(name).randbytes(size)


@pytest.fixture(params=["tcp", "unix"])
def client(request, start, generated, tmp_path) -> StoreClient:
    listen = "127.0.0.1:0" if request.param == "tcp" else f"unix:{tmp_path / 'kv.sock'}"
    return StoreClient(start("slimfill-kvstore", f"--listen={listen}", "--memory=256MiB").address)


def test_blocks_come_back_byte_for_byte(client):
    sizes = [1, 4095, 4096, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 5_000_001]
    blocks = [block(f"size {size}", size) for size in sizes]
    assert client.put([(key, b"", value) for key, value in blocks]) == [0] * len(sizes)
    for options in ({}, {"verify": True}, {"max_message_bytes": 4096}):
        assert client.fetch([(key, 0, len(value)) for key, value in blocks], **options) == [value for _, value in blocks]
    key, value = blocks[-1]
    ranges = [(0, 1), (1, PAGE), (PAGE, PAGE), (PAGE - 1, 2 * PAGE + 2), (len(value) - 7, 7), (12345, 1_000_000)]
    assert client.fetch([(key, *part) for part in ranges]) == [value[offset:offset + size] for offset, size in ranges]


def test_misses_bad_ranges_and_wrong_bytes_are_named(client):
    key, value = block("one", 100_000)
    other, _ = block("other", 1)
    assert client.put([(key, b"", value)]) == [0]
    assert client.fetch([(other, 0, 1), (key, 99_999, 2), (key, 5, 5)]) == [5, 11, value[5:10]]  # NOT_FOUND, OUT_OF_RANGE
    damaged = client.api.PutRequest(
        blocks=[client.api.PutBlock(key=other, total_bytes=3)],
        chunks=[client.api.Chunk(ordinal=0, offset=0, checksum=checksum(other, 0, b"abc"), data=b"abd")])
    assert [status.code for status in client.stub.Put(iter([damaged]), timeout=60).statuses] == [15]  # DATA_LOSS
    assert client.fetch([(other, 0, 1)]) == [5]


def test_prefixes_match_and_leases_hold(client):
    chain = [block(f"chain {i}", 70_000) for i in range(4)]
    parents = [b""] + [key for key, _ in chain[:-1]]
    assert client.put([(key, parent, value) for (key, value), parent in zip(chain, parents)]) == [0] * 4
    keys = [key for key, _ in chain]
    match = client.stub.MatchPrefix(client.api.MatchPrefixRequest(keys=keys + [block("absent", 1)[0]]), timeout=60)
    assert match.blocks == 4 and match.lease != 0
    deleted = client.stub.Delete(client.api.DeleteRequest(keys=keys), timeout=60)
    assert [status.code for status in deleted.statuses] == [9] * 4  # FAILED_PRECONDITION: leased
    client.stub.Renew(client.api.RenewRequest(lease=match.lease), timeout=60)
    client.stub.Release(client.api.ReleaseRequest(lease=match.lease), timeout=60)
    deleted = client.stub.Delete(client.api.DeleteRequest(keys=keys), timeout=60)
    assert [status.code for status in deleted.statuses] == [0] * 4


def test_private_blocks_die_with_their_lease(client):
    key, value = block("private", 50_000)
    lease = client.stub.OpenPrivate(client.api.OpenPrivateRequest(), timeout=60).lease
    assert client.put([(key, b"", value)], lease=lease) == [0]
    assert client.fetch([(key, 0, len(value))], lease=lease) == [value]
    assert client.fetch([(key, 0, len(value))]) == [5]
    client.stub.Release(client.api.ReleaseRequest(lease=lease), timeout=60)
    assert client.fetch([(key, 0, 1)], lease=lease) == [5]
    assert client.stub.Stats(client.api.StatsRequest(), timeout=60).bytes_used == 0


def test_clients_live_through_a_store_that_is_killed_again_and_again(start, generated, tmp_path):
    """Two processes put and fetch while the store crashes: whatever is said to be there is right."""
    from slimfill.v1 import kvstore_pb2 as api

    listen = f"unix:{tmp_path / 'kv.sock'}"
    stop = threading.Event()
    counts = {"right": 0, "away": 0}
    blocks = [block(f"loop {i}", 30_000 + i) for i in range(8)]

    def hammer():
        client = StoreClient(listen)
        while not stop.is_set():
            try:
                client.put([(key, b"", value) for key, value in blocks])
                for (_, value), found in zip(blocks, client.fetch([(key, 0, len(value)) for key, value in blocks])):
                    assert found in (value, 5)
                    counts["right"] += found == value
            except grpc.RpcError as error:
                assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN,
                                        grpc.StatusCode.DEADLINE_EXCEEDED), error
                counts["away"] += 1
                stop.wait(0.05)

    failures = []

    def guarded():
        try:
            hammer()
        except BaseException as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(2)]
    for life in range(5):
        store = start("slimfill-kvstore", f"--listen={listen}", "--memory=64MiB")
        if life == 0:
            for thread in threads:
                thread.start()
        before = counts["right"]
        while counts["right"] < before + 20 and not failures:
            stop.wait(0.02)
        store.kill()
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures and counts["right"] >= 100 and counts["away"] > 0, (failures, counts)


def chat(text: str, question: str):
    from slimfill.v1 import inference_pb2 as api

    return api.GenerateOnceRequest(
        chat=api.Chat(messages=[api.ChatMessage(role="user", content=f"{text}\n\n{question}")]),
        sampling=api.SamplingParams(max_tokens=8))


def generate(server: Program, request, token: str = ""):
    metadata = [("authorization", f"Bearer {token}")] if token else []
    return stub(server.address).GenerateOnce(request, metadata=metadata, timeout=300)


def until_cached(server: Program, request, token: str = "") -> int:
    """Writes to the store are behind the answer: asks until they have arrived."""
    for _ in range(100):
        cached = generate(server, request, token).finished.usage.cached_tokens
        if cached > 0:
            break
    return cached


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_servers_share_prefixes_of_one_store_and_tenants_never(way, start, generated, document, tmp_path):
    text = document[:6000]
    tokens = tmp_path / "tokens"
    tokens.write_text("".join(f"{tenant}:{hashlib.sha256(secret.encode()).hexdigest()}\n"
                              for tenant, secret in (("alice", "a-secret"), ("bob", "b-secret"))))
    listen = "127.0.0.1:0" if way == "tcp" else f"unix:{tmp_path / 'kv.sock'}"
    store = start("slimfill-kvstore", f"--listen={listen}", "--metrics-listen=127.0.0.1:0", "--memory=512MiB")
    flags = {"kv_store": store.address, "auth_tokens": str(tokens), "densify": "0"}
    first = start("slimfill-server", *server_arguments(SMOLLM2, **flags))
    second = start("slimfill-server", *server_arguments(SMOLLM2, **flags))
    request = chat(text, QUESTION)
    cold = generate(first, request, "a-secret")
    assert cold.finished.usage.cached_tokens == 0
    assert until_cached(second, chat(text, "What is this text about?"), "a-secret") > 1000, "from the other server"
    warm = generate(second, request, "a-secret")
    assert warm.finished.usage.cached_tokens > 1000 and warm.text == cold.text
    foreign = generate(second, request, "b-secret")
    assert foreign.finished.usage.cached_tokens == 0 and foreign.text == cold.text, "another tenant computes it again"
    moved = metric(store.metrics, "slimfill_kv_transfer_bytes_total")
    assert moved > 0


def test_the_store_says_which_way_its_bytes_went(start, generated, document, tmp_path):
    store = start("slimfill-kvstore", f"--listen=unix:{tmp_path / 'kv.sock'}", "--metrics-listen=127.0.0.1:0",
                  "--memory=512MiB")
    server = start("slimfill-server", *server_arguments(SMOLLM2, kv_store=store.address, densify="0"))
    request = chat(document[:6000], QUESTION)
    generate(server, request)
    assert until_cached(server, chat(document[:6000], "What is this text about?")) > 1000
    shm = metric(store.metrics, 'slimfill_kv_transfer_bytes_total{direction="fetch",path="shm"}')
    assert shm > 1_000_000
    assert metric(server.metrics, "slimfill_kv_store_up") == 1
    store.process.send_signal(signal.SIGTERM)
    assert store.process.wait(timeout=60) == 0 and not os.path.exists(tmp_path / "kv.sock.shm")
