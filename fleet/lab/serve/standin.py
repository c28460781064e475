"""A stand-in for vLLM's server: its endpoints, words and statuses, no model. Standard library only.

For tests with many hosts or faults, and where the real vLLM for CPU can't be had. What it says is made up; what it
refuses (unknown options, a missing model, a missing key, too many images) is what vLLM 0.32 refuses.
"""

import json
import os
import signal
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OPEN = ("/health", "/ping", "/version", "/metrics", "/load")
STATE = {"running": 0, "requests": 0, "tokens": 0}
LOCK = threading.Lock()


def options(words):
    """The arguments by name, judged by the options that vLLM has; ends with 2 as its parser does."""
    with open(os.path.join(os.path.dirname(__file__), "options.json")) as file:
        known = json.load(file)
    given, model, i = {}, None, 0
    while i < len(words):
        word = words[i]
        i += 1
        if not word.startswith("-"):
            model = model or word
            continue
        name, joined, value = word.partition("=")
        name = "--" + name[2:].replace("_", "-")
        if name not in known:
            fail(f"vllm: error: unrecognized arguments: {word}")
        if not joined and known[name] and i < len(words):
            value = words[i]
            i += 1
        given[name[2:]] = value
    for name in ("port", "max-model-len", "tensor-parallel-size", "max-num-seqs"):
        if name in given and not given[name].lstrip("-").isdigit():
            fail(f"vllm serve: error: argument --{name}: invalid int value: {given[name]!r}")
    return model, given


def fail(words, status=2):
    print(words, file=sys.stderr, flush=True)
    sys.exit(status)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name, length, images, root = "", 4096, 999, ""

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = self.path.split("?")[0]
        if self.refused(path):
            return None
        if path in ("/health", "/ping"):
            return self.send(200, b"", "text/plain")
        if path == "/version":
            return self.json({"version": "0.32.0"})
        if path == "/load":
            return self.json({"server_load": STATE["running"]})
        if path == "/metrics":
            label = f'{{engine="0",model_name="{self.name}"}}'
            text = (
                f"vllm:num_requests_running{label} {STATE['running']}\nvllm:num_requests_waiting{label} 0\n"
                f"vllm:kv_cache_usage_perc{label} 0.0\nvllm:iteration_tokens_total_count{label} {STATE['tokens']}\n"
                f"vllm:generation_tokens_total{label} {STATE['tokens']}\n"
                f'vllm:request_success_total{{finished_reason="stop",model_name="{self.name}"}} {STATE["requests"]}\n'
            )
            return self.send(200, text.encode(), "text/plain; version=0.0.4")
        if path == "/v1/models":
            model = {
                "id": self.name,
                "object": "model",
                "owned_by": "vllm",
                "root": self.root,
                "max_model_len": self.length,
            }
            return self.json({"object": "list", "data": [model]})
        return self.json({"detail": "Not Found"}, 404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.split("?")[0]
        if self.refused(path):
            return None
        try:
            asked = json.loads(body)
        except ValueError:
            return self.error(400, "the body isn't JSON", "BadRequestError")
        if asked.get("model") not in (self.name, None):
            return self.error(
                404, f"The model `{asked['model']}` does not exist. Valid aliases: {self.name}.", "NotFoundError"
            )
        if path == "/v1/chat/completions":
            parts = [p for m in asked.get("messages", []) if isinstance(m.get("content"), list) for p in m["content"]]
            count = sum(p.get("type") == "image_url" for p in parts)
            if count > self.images:
                words = f"At most {self.images} image(s) may be provided in one prompt. (parameter=image)"
                return self.error(400, words, "BadRequestError")
            return self.answer(asked, chat=True)
        if path in ("/v1/completions", "/invocations"):
            return self.answer(asked, chat=False)
        return self.json({"detail": "Not Found"}, 404)

    def answer(self, asked, chat):
        words = "Well met from the stand-in of the lab".split()[: int(asked.get("max_tokens") or 16)]
        with LOCK:
            STATE["running"] += 1
        try:
            if asked.get("stream"):
                return self.stream(words, chat)
            time.sleep(0.01 * len(words))
            text = " ".join(words)
            choice = {"index": 0, "finish_reason": "stop"}
            choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            usage = {"prompt_tokens": 8, "completion_tokens": len(words), "total_tokens": 8 + len(words)}
            return self.json({"id": "standin", "model": self.name, "choices": [choice], "usage": usage})
        finally:
            with LOCK:
                STATE["running"] -= 1
                STATE["requests"] += 1
                STATE["tokens"] += len(words)

    def stream(self, words, chat):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for word in words:
            piece = {"delta": {"content": word + " "}} if chat else {"text": word + " "}
            event = {"id": "standin", "model": self.name, "choices": [{"index": 0, **piece}]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.02)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def refused(self, path):
        key = os.environ.get("VLLM_API_KEY")
        if not key or not path.startswith("/v1/"):
            return False
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer" and given == key:
            return False
        self.json({"error": "Unauthorized"}, 401)
        return True

    def error(self, code, words, kind):
        self.json({"error": {"message": words, "type": kind, "param": None, "code": code}}, code)

    def json(self, value, code=200):
        self.send(code, json.dumps(value).encode(), "application/json")

    def send(self, code, body, kind):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(words):
    if words[:1] != ["serve"]:
        fail("vllm: error: the stand-in only serves")
    model, given = options(words[1:])
    if not model or not os.path.isdir(model):
        fail(f"Repo id must be in the form 'repo_name' or 'namespace/repo_name': {model!r}", 1)
    try:
        with open(os.path.join(model, "config.json")) as file:
            longest = json.load(file).get("text_config", {}).get("max_position_embeddings", 32768)
    except (OSError, ValueError):
        fail(f"Invalid repository ID or local directory specified: {model!r}", 1)
    length = int(given.get("max-model-len") or longest)
    if length > longest:
        fail(f"User-specified max_model_len ({length}) is greater than the derived max_model_len ({longest})", 1)
    limit = given.get("limit-mm-per-prompt")
    Handler.name = given.get("served-model-name") or model
    Handler.length, Handler.root = length, model
    Handler.images = json.loads(limit).get("image", 999) if limit else 999
    time.sleep(float(os.environ.get("FLEETLAB_START_SECONDS") or 1))
    server = Server((given.get("host") or "0.0.0.0", int(given.get("port") or 8000)), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"stand-in serves {Handler.name} on {server.server_address}", flush=True)
    server.serve_forever()
    return 0
