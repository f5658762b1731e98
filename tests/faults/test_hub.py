"""What `--push_to_hub` uploads: to a private repository, and nothing of this machine's paths."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest

from realfill.model.save import check_hub, push_to_hub
from realfill.record import LORA_FILE, RECORD_FILE, TrainingRecord
from tests.conftest import RunScript, train_flags


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as an upload of small files needs."""

    def do_GET(self) -> None:
        """Say who is logged in."""
        self.answer({"name": "somebody", "type": "user", "auth": {}})

    def do_POST(self) -> None:
        """Keep what is uploaded."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, body))
        if self.path.endswith("/create"):
            self.answer({"url": f"{self.server.address}/somebody/lora", "id": "somebody/lora"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            chosen = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self.answer({"files": [{"path": each["path"]} | chosen for each in files]})
        else:
            commit = f"{self.server.address}/somebody/lora/commit/{'0' * 40}"
            self.answer({"commitUrl": commit, "commitOid": "0" * 40, "success": True})

    def answer(self, content: dict) -> None:
        """Send JSON."""
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    """Start a hub on the loopback and have the library talk to it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.requests, server.address = [], f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()


def test_an_upload_is_private_and_names_no_path(hub, trained: tuple[Path, Path]) -> None:
    folder = trained[1]
    record = TrainingRecord.read(folder)
    push_to_hub(check_hub("hf_token"), folder, "lora", record)
    [(_, created)] = [each for each in hub.requests if each[0].endswith("/create")]
    assert json.loads(created)["visibility"] == "private"
    uploaded = {}
    for path, body in hub.requests:
        if "/commit/" in path:
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    uploaded[line["value"]["path"]] = content
    assert set(uploaded) == {"README.md", LORA_FILE, RECORD_FILE}
    assert uploaded[LORA_FILE] == (folder / LORA_FILE).read_bytes()
    own = [str(folder.parent), record.base_folder, str(Path.home())]
    said = [body for _, body in hub.requests] + list(uploaded.values())
    assert record.base_folder
    assert not [text for text in own if any(text.encode() in each for each in said)]


def test_a_hub_that_refuses_the_token_ends_the_run_before_training(
    hub, base_folder: Path, scene_folder: Path, tmp_path: Path, refuse: RunScript
) -> None:
    hub.shutdown()
    hub.server_close()
    script, *flags = train_flags(scene_folder, base_folder, tmp_path / "model")
    assert "--push_to_hub" in refuse(script, *flags, "--push_to_hub")
    assert [path.name for path in (tmp_path / "model").iterdir()] == []
