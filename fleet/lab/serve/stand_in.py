"""A light stand-in for vLLM's server: the same endpoints, the same refusals, no model. Standard library alone.

For machines that can't have the real one, and for tests with many hosts or faults. It says of itself what it is:
``GET /version`` ends in ``+stand-in``. What it can be told by its environment stands in :mod:`.faults`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from .answers import identity
from .arguments import parser, tokens
from .faults import Faults
from .server import Server, State, say


def main(words: Sequence[str]) -> int:
    """Serve until SIGTERM, which cuts off what is being answered, as vLLM 0.8.2 does."""
    told = parser().parse_args(list(words))
    faults = Faults.read(os.environ)
    if faults.fail:
        return _ended(faults.fail)
    model = Path(told.model_tag or told.model or "")
    try:
        config = json.loads((model / "config.json").read_text())
    except (OSError, ValueError):
        return _ended(f"Invalid repository ID or local directory specified: '{model}'")
    longest = int(config.get("max_position_embeddings") or 4096)
    limit = tokens(told.max_model_len) or longest
    if limit > longest:
        return _ended(f"User-specified max_model_len ({limit}) is greater than the derived max_model_len ({longest})")
    time.sleep(faults.start_seconds)
    key = os.environ.get("VLLM_API_KEY", "")
    state = State(told, str(model), limit, identity=identity(model), faults=faults, key=key)
    try:
        server = Server(told.host or "0.0.0.0", int(told.port or 8000), state)
    except OSError as error:
        return _ended(f"OSError: {error}")
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    if faults.dies_after:
        timer = threading.Timer(faults.dies_after, _die)
        timer.daemon = True
        timer.start()
    say(f"stand-in: no model is loaded; listening on {told.host}:{told.port}")
    server.serve_forever(0.05)
    say("stand-in: shutting down; what is being answered is cut off")
    return 0


def _die() -> None:
    """As vLLM ends when its engine did."""
    say("ERROR: vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above).")
    os._exit(1)


def _ended(words: str) -> int:
    say(f"ERROR: {words}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
