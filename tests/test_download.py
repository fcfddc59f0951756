"""Downloads, against a local server: complete, resumed, checked, refused."""

import hashlib
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from icu_lightning.download import CREDENTIALED, download
from icu_lightning.errors import UserError

FILES = {
    "LICENSE.txt": b"open\n",
    "hosp/patients.csv.gz": bytes(range(256)) * 4000,
    "icu/icustays.csv.gz": b"x" * 700_000,
}
BASE = "/mimic-iv-demo/2.2"


class Server:
    """PhysioNet on loopback. `cut`: path -> bytes after which the connection breaks, once each time it is listed."""

    def __init__(self) -> None:
        self.files = {f"{BASE}/{name}": content for name, content in FILES.items()}
        self.sums = "".join(f"{hashlib.sha256(content).hexdigest()} {name}\n" for name, content in FILES.items())
        self.asked: list[tuple[str, str | None]] = []
        self.cut: dict[str, list[int]] = {}
        self.ranges = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                """No line on stderr a request."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        span = handler.headers.get("Range")
        self.asked.append((handler.path, span))
        content = self.sums.encode() if handler.path == f"{BASE}/SHA256SUMS.txt" else self.files.get(handler.path)
        if content is None:
            return handler.send_error(404, "Not Found")
        start = int(re.fullmatch(r"bytes=(\d+)-", span)[1]) if span and self.ranges else 0
        if start >= len(content):
            return handler.send_error(416, "Range Not Satisfiable")
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        limits = self.cut.get(handler.path)
        handler.wfile.write(content[start : limits.pop(0)] if limits else content[start:])
        return None

    def spans(self, name: str) -> list[str | None]:
        return [span for path, span in self.asked if path == f"{BASE}/{name}"]


@pytest.fixture
def server():
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def complete(folder) -> bool:
    there = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return there == FILES


def test_everything_comes_and_a_second_time_nothing_is_asked_again(server, tmp_path):
    folder = download("mimic4-demo", tmp_path, server.url)
    assert folder == tmp_path / "mimic-iv-demo-2.2"
    assert complete(folder)
    server.asked.clear()
    download("mimic4-demo", tmp_path, server.url)
    assert [path for path, _ in server.asked] == [f"{BASE}/SHA256SUMS.txt"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_taken_up_again(server, tmp_path, ranges):
    server.ranges = ranges
    server.cut[f"{BASE}/hosp/patients.csv.gz"] = [300_000, 600_000]
    assert complete(download("mimic4-demo", tmp_path, server.url))
    assert len(server.spans("hosp/patients.csv.gz")) == 3
    if ranges:
        assert server.spans("hosp/patients.csv.gz")[1] == "bytes=300000-"


def test_an_earlier_part_is_continued_and_a_wrong_one_thrown_away(server, tmp_path):
    part = tmp_path / "mimic-iv-demo-2.2" / "icu" / "icustays.csv.gz.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(FILES["icu/icustays.csv.gz"][:123])
    assert complete(download("mimic4-demo", tmp_path, server.url))
    assert server.spans("icu/icustays.csv.gz") == ["bytes=123-"]
    (tmp_path / "mimic-iv-demo-2.2" / "icu" / "icustays.csv.gz").unlink()
    part.write_bytes(b"something else")
    assert complete(download("mimic4-demo", tmp_path, server.url))


def test_a_file_changed_on_this_side_is_downloaded_again(server, tmp_path):
    folder = download("mimic4-demo", tmp_path, server.url)
    (folder / "LICENSE.txt").write_bytes(b"opeN\n")
    assert complete(download("mimic4-demo", tmp_path, server.url))


def test_a_wrong_digest_leaves_no_file(server, tmp_path):
    server.files[f"{BASE}/LICENSE.txt"] = b"altered\n"
    with pytest.raises(UserError, match=r"LICENSE\.txt does not have the digest that SHA256SUMS\.txt gives it"):
        download("mimic4-demo", tmp_path, server.url)
    assert not list((tmp_path / "mimic-iv-demo-2.2").glob("LICENSE*"))


def test_a_missing_file_and_an_absent_server_are_named(server, tmp_path):
    del server.files[f"{BASE}/LICENSE.txt"]
    with pytest.raises(UserError, match=r"LICENSE\.txt: the server answers 404"):
        download("mimic4-demo", tmp_path, server.url)
    with pytest.raises(UserError, match=r"Cannot read http://127\.0\.0\.1:9/.*SHA256SUMS\.txt"):
        download("mimic4-demo", tmp_path, "http://127.0.0.1:9")


@pytest.mark.parametrize("line", ["0" * 64 + " ../../outside", "0" * 64 + " /etc/outside", "no digest"])
def test_a_list_that_leads_outside_is_refused(server, tmp_path, line):
    server.sums += line + "\n"
    with pytest.raises(UserError, match="no digest and path"):
        download("mimic4-demo", tmp_path, server.url)


@pytest.mark.parametrize("name", CREDENTIALED)
def test_the_full_databases_are_not_downloaded_and_the_message_says_where_to_apply(name, tmp_path):
    with pytest.raises(UserError, match=rf"needs credentials\. Apply at {CREDENTIALED[name]}"):
        download(name, tmp_path)


def test_the_command(server, tmp_path):
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "icu_lightning.download", *arguments, "--to", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = call("mimic4-demo", "--server", server.url)
    assert done.returncode == 0, done.stderr
    assert f"data=mimic4 data.root={tmp_path / 'mimic-iv-demo-2.2'}" in done.stdout
    wrong = call("mimic-demo")
    assert wrong.returncode == 1
    assert "Did you mean" in wrong.stderr
    assert "Traceback" not in wrong.stderr
