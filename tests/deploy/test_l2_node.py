"""The L2's nodes form their cluster by themselves, and again after one was lost: the real script with real servers."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from support import DEPLOY

FILES = DEPLOY / "helm/slimfill/files"
PEERS = ["127.0.0.11", "127.0.0.12", "127.0.0.13"]
PATIENCE = 180  # seconds; everything here takes ten at most on an idle machine

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="scripts/setup.sh installs redis-server")


def free_port() -> int:
    """A port that is free on every peer's address, with the cluster bus' port, 10000 higher."""
    for port in range(20000 + os.getpid() % 5000, 50000):
        try:
            for number in (port, port + 10000):
                for host in PEERS:
                    with socket.socket() as probe:
                        probe.bind((host, number))
            return port
        except OSError:
            continue
    raise AssertionError("no free port")


class Node:
    def __init__(self, folder, index: int, port: int):
        self.host, self.port = PEERS[index], port
        folder = folder / str(index)
        folder.mkdir()
        password = folder / "password"
        password.write_text("secret\n")
        self.environment = os.environ | {
            "L2_PEERS": " ".join(PEERS), "L2_INDEX": str(index), "L2_MEMORY": "64mb", "L2_INTERVAL": "1",
            "L2_CONF": str(FILES / "l2.conf"), "L2_PASSWORD_FILE": str(password), "L2_DIR": str(folder),
            "L2_PORT": str(port),
        }  # fmt: skip
        self.log = folder / "log"
        self.process = None

    def start(self) -> None:
        with self.log.open("a") as log:
            # Its own process group, so that the script and its server end together.
            self.process = subprocess.Popen(["sh", str(FILES / "l2-node.sh")], env=self.environment, stdout=log,
                                            stderr=log, start_new_session=True)

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def ask(self, *words: str) -> str:
        done = subprocess.run(["redis-cli", "-h", self.host, "-p", str(self.port), *words], capture_output=True,
                              text=True, timeout=PATIENCE, env=os.environ | {"REDISCLI_AUTH": "secret"})
        return done.stdout

    def sees_all(self) -> bool:
        """Whether it finds all slots with three masters, at the peers' addresses."""
        masters = [line for line in self.ask("CLUSTER", "NODES").splitlines()
                   if re.search(r"master - .* connected \d+-\d+$", line)]
        hosts = {line.split()[1].split(":")[0] for line in masters}
        return len(masters) == len(PEERS) and hosts == set(PEERS) and "cluster_state:ok" in self.ask("CLUSTER", "INFO")


@pytest.fixture
def nodes(tmp_path):
    port = free_port()
    started = [Node(tmp_path, index, port) for index in range(len(PEERS))]
    yield started
    for node in started:
        node.kill()


def await_cluster(nodes) -> None:
    give_up = time.monotonic() + PATIENCE
    while not all(node.sees_all() for node in nodes):
        assert time.monotonic() < give_up, "\n".join(node.log.read_text()[-2000:] for node in nodes)
        time.sleep(0.2)


def test_nodes_find_one_another_and_settings_are_in_force(nodes):
    for node in reversed(nodes):
        node.start()
    await_cluster(nodes)
    settings = nodes[0].ask("CONFIG", "GET", "maxmemory*", "save", "appendonly", "cluster-require-full-coverage")
    for name, value in {"maxmemory": "67108864", "maxmemory-policy": "allkeys-lfu", "appendonly": "no", "save": "",
                        "cluster-require-full-coverage": "no"}.items():  # fmt: skip
        assert f"{name}\n{value}\n" in settings
    refused = subprocess.run(["redis-cli", "-h", nodes[0].host, "-p", str(nodes[0].port), "PING"],
                             capture_output=True, text=True, timeout=PATIENCE)
    assert "NOAUTH" in refused.stdout


def test_a_node_that_restarts_takes_its_share_again(nodes):
    for node in nodes:
        node.start()
    await_cluster(nodes)
    before = nodes[1].ask("CLUSTER", "MYID")
    nodes[1].kill()
    nodes[1].start()
    give_up = time.monotonic() + PATIENCE
    while nodes[1].ask("CLUSTER", "MYID") in ("", before):
        assert time.monotonic() < give_up
        time.sleep(0.2)
    await_cluster(nodes)
    # Each finds the new node, not the one that is gone.
    for node in nodes:
        assert before.strip() not in node.ask("CLUSTER", "NODES")
