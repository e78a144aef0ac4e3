"""The orchestrator's side of the protocol (lines.py): a driver is a child process that holds one engine."""

import json
import os
import subprocess
import tempfile
from pathlib import Path


class DriverError(Exception):
    pass


class Driver:
    """Started and ready; `about` is what it says of itself. Ends with close()."""

    def __init__(self, name: str, command: list[str | Path]):
        self.name = name
        self._log = tempfile.TemporaryFile("w+")
        # Libraries choose their number of threads from these when they are set; ours is given on the command line.
        environment = {
            key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
        }
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        try:
            self.about = self._read()
        except DriverError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, op: str, **request) -> dict:
        try:
            self._process.stdin.write(json.dumps({"op": op, **request}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error
        return self._read()

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer = json.loads(line)
        if "error" in answer:
            raise DriverError(f"{self.name}: {answer['error']}")
        return answer

    def _ended(self) -> DriverError:
        self._log.seek(0)
        tail = "".join(self._log.readlines()[-10:])
        return DriverError(f"{self.name} ended unexpectedly\n{tail}")
