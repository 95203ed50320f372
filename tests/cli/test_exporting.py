"""`mainstay events export`: a file that is there only when it is whole."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mainstay.cli.exporting import end_of
from tests.cli.running import called

END = '{"rows":2,"cap":10,"truncated":false}'
CSV_END = '#end,"{""rows"":2,""cap"":10,""truncated"":false}",,\r\n'
BODIES = {
    "json": '{"data":[{"seq":1},\n{"seq":2}\n],"meta":' + END + "}\n",
    "ndjson": '{"seq":1}\n{"seq":2}\n{"end":' + END + "}\n",
    "csv": 'id,note\r\n1,"#end,""x"\r\n2,b\r\n' + CSV_END,
}
KEPT = BODIES | {"csv": BODIES["csv"].removesuffix(CSV_END)}


@contextmanager
def answering(
    body: bytes, *, status: int = 200, length: int | None = None
) -> Iterator[tuple[dict[str, str], list[str]]]:
    """A server that gives this body to everybody, and what it was asked for; a greater length cuts the answer off."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("content-length", str(length or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return None

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield {"MAINSTAY_URL": f"http://127.0.0.1:{server.server_port}", "MAINSTAY_KEY": "mk_ws_x"}, asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("form", ["json", "ndjson", "csv"])
def test_a_whole_export_is_in_the_file(form: str, tmp_path: Path) -> None:
    file = tmp_path / f"events.{form}"
    with answering(BODIES[form].encode()) as (env, asked):
        ran = called("events", "export", str(file), "--action", "a.b", "--from", "2026-01-01", env=env)
    assert (ran.code, ran.out) == (0, ""), ran.err
    assert "2 events" in ran.err
    assert file.read_bytes().decode() == KEPT[form]
    assert [one.name for one in tmp_path.iterdir()] == [file.name]
    end = "&end=true" if form == "csv" else ""
    assert asked == [f"/v1/key/workspace/export.{form}?action=a.b&from=2026-01-01{end}"]


@pytest.mark.parametrize("form", ["json", "ndjson", "csv"])
@pytest.mark.parametrize("missing", [1, 10, 60])
@pytest.mark.parametrize("is_told", [True, False], ids=["connection breaks", "ends as if whole"])
def test_a_cut_export_leaves_no_file(form: str, missing: int, is_told: bool, tmp_path: Path) -> None:
    body = BODIES[form].encode()[:-missing]
    with answering(body, length=len(body) + missing if is_told else None) as (env, _):
        ran = called("events", "export", str(tmp_path / f"e.{form}"), env=env)
    assert ran.code == 1
    assert "cut off" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_stays_unless_told(tmp_path: Path) -> None:
    file = tmp_path / "e.json"
    file.write_text("mine")
    with answering(BODIES["json"].encode()[:-9]) as (env, asked):
        assert called("events", "export", str(file), env=env).code == 2
        assert asked == []
        assert called("events", "export", str(file), "--force", env=env).code == 1
        assert file.read_text() == "mine", "a cut export replaces nothing"
    with answering(BODIES["json"].encode()) as (env, _):
        assert called("events", "export", str(file), "--force", env=env).code == 0
    assert json.loads(file.read_text())["meta"]["rows"] == 2


def test_what_the_cap_cut_is_kept_and_told(tmp_path: Path) -> None:
    file = tmp_path / "e.ndjson"
    with answering(BODIES["ndjson"].replace("false", "true").encode()) as (env, _):
        ran = called("events", "export", str(file), env=env)
    assert ran.code == 3
    assert "cap of 10 rows" in ran.err
    assert file.exists()


def test_refusals_and_wrong_usage(tmp_path: Path) -> None:
    problem = (
        b'{"type":"urn:mainstay:problem:invalid","detail":"no","errors":[{"detail":"not a time","pointer":"from"}]}'
    )
    with answering(problem, status=400) as (env, asked):
        ran = called("events", "export", str(tmp_path / "e.csv"), "--from", "abc", env=env)
        assert ran.code == 1
        assert "from: not a time" in ran.err
        assert list(tmp_path.iterdir()) == []
        asked.clear()
        assert called("events", "export", str(tmp_path / "e.xls"), env=env).code == 2
        assert called("events", "export", "--as", "csv", "--proof", env=env).code == 2
        assert asked == []
        ran = called("events", "export", str(tmp_path / "nowhere" / "e.csv"), env=env)
        assert ran.code == 2
        assert "cannot write" in ran.err


def test_to_standard_output(tmp_path: Path) -> None:
    with answering(BODIES["ndjson"].encode()) as (env, asked):
        ran = called("events", "export", "--company", env=env)
    assert (ran.code, ran.out) == (0, BODIES["ndjson"])
    assert asked == ["/v1/key/company/export.ndjson"]


def test_an_end_inside_a_field_is_none() -> None:
    rows = list(csv.reader(KEPT["csv"].splitlines()))
    assert rows[1] == ["1", '#end,"x']
    assert end_of("csv", KEPT["csv"].encode()) == (None, KEPT["csv"].encode())
    assert end_of("json", b'{"data":[{"x":"],\\"meta\\":{}}"}')[0] is None
