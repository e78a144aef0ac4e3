"""Fixtures: client code of our API, programs that stop with the test, a real document."""
import subprocess
import sys

import pytest
from programs import ROOT, Program


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """Folder with the Python client code of our API, made as any user would make it."""
    folder = tmp_path_factory.mktemp("generated")
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}",
                    f"--grpc_python_out={folder}", "slimfill/v1/inference.proto", "slimfill/v1/kvstore.proto"], check=True)
    sys.path.insert(0, str(folder))
    return folder


@pytest.fixture
def start(tmp_path):
    """start(name, *arguments) starts a program; all are stopped after the test."""
    running = []

    def run(name: str, *arguments: str) -> Program:
        program = Program(name, *arguments, log=tmp_path / f"{name}-{len(running)}.log")
        running.append(program)
        return program

    yield run
    for program in running:
        if program.process.poll() is None:
            program.kill()


@pytest.fixture(scope="session")
def document() -> str:
    """A real text of about 4,000 tokens with the answer to QUESTION a third of the way in."""
    return subprocess.run([sys.executable, ROOT / "scripts/demo_document.py", "--tokens", "4096"], check=True,
                          capture_output=True, text=True).stdout
