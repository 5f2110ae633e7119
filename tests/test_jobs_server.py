"""The jobs page's routes and the contract of JupyterLab's scheduling form, on a real server."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request

import pytest
from jobs_home import book, end_service, ended, kill, notebook, service_pid
from test_server_extension import OPENER, TOKEN, Server
from waiting import until

from breeze_lab.jobs import face

pytestmark = pytest.mark.timeout(240)
OWNER = {"Authorization": f"token {TOKEN}"}


class Jobs(Server):
    """A server whose root holds a notebook."""

    def call(self, method, path, data=None):
        """Return status and JSON of a route below the base URL."""
        request = urllib.request.Request(
            self.url.removesuffix("breeze-lab/") + path, method=method, headers=OWNER,
            data=None if data is None else json.dumps(data).encode(),
        )  # fmt: skip
        try:
            with OPENER.open(request, timeout=60) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as exc:
            status, body = exc.code, exc.read()
        return status, json.loads(body) if body else None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("jobs-server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BREEZE_LAB_HOME", str(home / "lab"))
        notebook(home / "night.ipynb", "print(top)", parameters="top = 3")
        running = Jobs(home)
        yield running
        running.process.terminate()
        running.process.wait(20)
        end_service()


def form(**more):
    """Return what the form sends."""
    return {
        "name": "night", "input_uri": "night.ipynb", "runtime_environment_name": "breeze-lab",
        "output_formats": ["ipynb", "html"], "parameters": {"top": "5"}, **more,
    }  # fmt: skip


def test_the_form_schedules_on_market_time_and_its_job_is_ours(server):
    """`market_time` is the phrase; the cron line only says roughly when; parameters are typed."""
    assert server.call("GET", "scheduler/jobs?max_items=0") == (200, {"jobs": [], "total_count": 0})
    phrase = "after F&O close on trading days"
    status, made = server.call(
        "POST", "scheduler/job_definitions",
        form(schedule="0 0 * * MON-FRI", timezone="Asia/Kolkata",
             parameters={"top": "5", "market_time": phrase, "": ""}),
    )  # fmt: skip
    assert status == 200, made
    name = made["job_definition_id"]
    with book() as file:
        one = file.definition("night")
    assert (one.id, one.phrase, one.parameters, one.formats) == (
        name, phrase, {"top": 5}, "ipynb html",
    )  # fmt: skip
    status, shown = server.call("GET", f"scheduler/job_definitions/{name}")
    assert (shown["schedule"], shown["timezone"]) == ("40 15 * * 1-5", "Asia/Kolkata")
    assert shown["parameters"] == {"market_time": phrase, "top": "5"}
    listed = server.call("GET", "scheduler/job_definitions?sort_by=asc(name)&max_items=25")[1]
    assert [row["name"] for row in listed["job_definitions"]] == ["night"]
    overview = server.call("GET", "breeze-lab/api/jobs")[1]
    assert overview["jobs"][0]["phrase"] == phrase
    assert len(overview["jobs"][0]["next"]) == 3


def test_the_form_pauses_changes_and_keeps_a_phrase_it_only_knows_roughly(server):
    """What the form sends back unchanged is no change; another cron line is one."""
    with book() as file:
        one = file.definition("night")
    route = f"scheduler/job_definitions/{one.id}"
    assert server.call("PATCH", route, {"active": False})[0] == 204
    assert server.call("GET", route)[1]["active"] is False
    assert server.call("PATCH", route, {"active": True})[0] == 204
    same = {"schedule": "40 15 * * 1-5", "timezone": "Asia/Kolkata"}
    assert server.call("PATCH", route, same)[0] == 204
    with book() as file:
        assert file.definition("night").phrase == one.phrase
    assert server.call("PATCH", route, {**same, "schedule": "0 18 * * 1-5"})[0] == 204
    with book() as file:
        assert file.definition("night").phrase == "cron 0 18 * * 1-5 in Asia/Kolkata"


def test_the_form_runs_now_and_the_output_is_linked(server):
    """A run from the form ends in the book; its files lie below the server's folder."""
    with book() as file:
        name = file.definition("night").id
    status, made = server.call(
        "POST", f"scheduler/job_definitions/{name}/jobs", {"parameters": {"top": "8"}}
    )
    assert status == 200, made
    number = made["job_id"]
    assert server.call("POST", "breeze-lab/api/jobs/do", {"do": "cancel", "run": 999})[0] == 404
    with book() as file:  # nobody is logged in here, so it says that it waits
        until(lambda: file.run(int(number)).state == "waiting", "waiting")
        message = server.call("GET", f"scheduler/jobs/{number}")[1]["status_message"]
        assert message.startswith("Waiting for a login to ICICI Direct")
        with file.turn() as rows:
            rows.execute("UPDATE definitions SET session = 'none'")
    ended(int(number))
    status, run = server.call("GET", f"scheduler/jobs/{number}")
    assert (run["status"], run["parameters"]["top"]) == ("COMPLETED", "8")
    paths = [file["file_path"] for file in run["job_files"]]
    assert [path.rpartition(".")[2] for path in paths] == ["ipynb", "html"]
    assert all((server.home / path).exists() for path in paths)
    assert server.call("GET", f"scheduler/jobs/{number}/download_files")[0] == 204
    assert server.call("GET", "scheduler/jobs/count?status=COMPLETED")[1] == {"count": 1}
    log = server.call("GET", f"breeze-lab/api/jobs/run?run={number}")[1]["log"]
    assert "Executing Cell" in log


def test_a_killed_service_is_started_again_by_the_server(server):
    """As long as something is scheduled the server looks after the service."""
    pid = until(service_pid, "the service")
    kill(pid)
    until(lambda: service_pid() not in (None, pid), "another service", 60)


@pytest.mark.parametrize(
    ("route", "data", "status", "words"),
    [
        ("job_definitions", form(input_uri="../../etc/passwd"), 400, "outside"),
        ("job_definitions", form(input_uri="gone.ipynb", name="x"), 400, "There is no notebook"),
        ("job_definitions", form(schedule="0 18 * * *"), 400, "scheduled already"),
        ("job_definitions", form(name="x", schedule="99 * * * *"), 400, "minute of a cron line"),
        ("job_definitions", form(name="x", parameters={"market_time": "after lunch"}), 400, "Nearest"),
        ("job_definitions", form(name="x", schedule="0 18 * * *", parameters={"tpo": "1"}), 400, "top?"),
        ("job_definitions", form(name="x", schedule="0 18 * * *", parameters={"token": "1"}), 400,
         "looks like a secret"),
        ("jobs", form(parameters={"market_time": "09:00 on trading days"}), 400, "Run on a schedule"),
    ],
)  # fmt: skip
def test_what_the_form_gets_wrong_is_told_in_words(server, route, data, status, words):
    """The message is what the form shows; nothing is made."""
    before = len(server.call("GET", "breeze-lab/api/jobs")[1]["jobs"])
    found = server.call("POST", f"scheduler/{route}", data)
    assert (found[0], words in found[1]["message"]) == (status, True), found
    assert len(server.call("GET", "breeze-lab/api/jobs")[1]["jobs"]) == before


def test_the_page_lets_only_its_own_script_run(server):
    """No inline script or style without the nonce, nothing from elsewhere, no framing by others."""
    status, headers, body = server.get("jobs")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    nonce = policy.partition("'nonce-")[2].partition("'")[0]
    assert body.count(f'nonce="{nonce}"'.encode()) == 2
    assert "default-src 'none'" in policy
    assert b"innerHTML" not in body
    assert b"{{" not in body
    assert os.environ.get("BREEZE_LAB_HOME", "").encode() not in body
    assert face.needs_service()
