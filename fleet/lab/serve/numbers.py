"""What the stand-in counts, in Prometheus's text form, under the names that vLLM has."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

#: vLLM 0.32 has 3.8 kB of the process's and of its estimates' numbers before the first of requests, and 55 kB in all.
_BEFORE = [f'http_request_size_bytes_bucket{{handler="/v1/chat/completions",le="{2**n}.0"}} 0.0' for n in range(60)]


class Numbers:
    """Requests and tokens. No more than ``sequences`` are answered at once: the rest waits, and is counted so."""

    def __init__(self, model: str, prefix: str, sequences: int) -> None:
        self._label = f'{{engine="0",model_name="{model}"}}'
        self._prefix = prefix
        self._places = threading.Semaphore(sequences)
        self._lock = threading.Lock()
        self.running = self.waiting = self.served = self.aborted = self.prompt_tokens = self.generated_tokens = 0

    @contextlib.contextmanager
    def answering(self, prompt: int, generated: int) -> Iterator[None]:
        """A request's time in the server, from when it has been read until its answer has gone out."""
        with self._lock:
            self.waiting += 1
        self._places.acquire()
        with self._lock:
            self.waiting -= 1
            self.running += 1
        done = False
        try:
            yield
            done = True
        finally:
            self._places.release()
            with self._lock:
                self.running -= 1
                self.prompt_tokens += prompt
                if done:
                    self.served += 1
                    self.generated_tokens += generated
                else:
                    self.aborted += 1

    def text(self) -> str:
        """The families that vLLM has and that somebody may ask for."""
        rows = [
            ("num_requests_running", "gauge", self.running),
            ("num_requests_waiting", "gauge", self.waiting),
            ("kv_cache_usage_perc", "gauge", min(1.0, 0.01 * self.running)),
            ("num_preemptions_total", "counter", 0),
            ("prompt_tokens_total", "counter", self.prompt_tokens),
            ("generation_tokens_total", "counter", self.generated_tokens),
        ]
        first, label = self._prefix, self._label
        lines = [*_BEFORE]
        lines += [f"# TYPE {first}{name} {kind}\n{first}{name}{label} {value}" for name, kind, value in rows]
        lines.append(f"# TYPE {first}request_success_total counter")
        for reason, count in (("stop", self.served), ("abort", self.aborted)):
            reasons = label.replace("{", f'{{finished_reason="{reason}",')
            lines.append(f"{first}request_success_total{reasons} {count}")
        return "\n".join(lines) + "\n"
