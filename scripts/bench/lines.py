"""The drivers' side of the protocol: one JSON object a line on stdin, one on stdout.

A request is {"op": NAME, ...}; the answer is what the handler of that name returns, or {"error": TEXT}. The first line
out, before any request, is {"ready": true, ...}. Libraries print what they like to stdout; it ends up on stderr.
"""

import json
import os
import sys
import time
from collections.abc import Callable


def serve(make_handlers: Callable[[], tuple[dict, dict[str, Callable[[dict], dict]]]]) -> None:
    """`make_handlers` loads the engine and gives what to say of it, and its handlers."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer: dict) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    try:
        about, handlers = make_handlers()
    except Exception as error:
        say({"error": f"{type(error).__name__}: {error}"})
        return
    say({"ready": True, **about})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say(handlers[request["op"]](request))
        except Exception as error:  # the orchestrator decides what a failed measurement means
            say({"error": f"{type(error).__name__}: {error}"})


def timed(work: Callable[[], object]) -> dict:
    """Wall seconds and this process's CPU seconds (all threads) of `work`, and its result."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "result": result}
