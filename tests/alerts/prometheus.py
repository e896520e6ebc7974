"""A real Prometheus with the project's configuration and rules, with every minute shortened to a second."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.alerts.rules import RULES, hurried
from tests.integration.haproxy import wait_until
from tests.peers import ROOT, need

CONFIGURATION = ROOT / "config/prometheus/prometheus.yml"
START_S = 20.0
SCRAPE_S = 0.5  # in the place of 15, and how often rules are judged


class Prometheus:
    """Scrapes the guards at ``targets``, as the job of config/prometheus; HAProxy's own job is left out."""

    def __init__(self, folder: Path, targets: Sequence[str], scrape_s: float = SCRAPE_S) -> None:
        configuration = yaml.safe_load(CONFIGURATION.read_text())
        configuration["global"] = dict.fromkeys(("scrape_interval", "evaluation_interval"), f"{round(1000 * scrape_s)}ms")
        [job] = [job for job in configuration["scrape_configs"] if job["job_name"] == "spoe-guard"]
        job["static_configs"] = [{"targets": list(targets)}]
        configuration["scrape_configs"] = [job]
        [rules] = configuration["rule_files"]
        (folder / rules).write_text(hurried(RULES.read_text()))
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        self._log_path = folder / "prometheus.log"
        command = [need("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        command += ["--web.listen-address=127.0.0.1:0", "--log.format=json"]
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(self._listens, "Prometheus listens", START_S)
            wait_until(self._is_ready, "Prometheus is ready", START_S)
        except BaseException as error:
            self._kill()
            error.add_note(self._log_path.read_text())
            raise

    def _listens(self) -> bool:
        assert self.process.poll() is None
        whole = self._log_path.read_text().rpartition("\n")[0]
        for line in map(json.loads, whole.splitlines()):
            if line.get("msg") == "Listening on":
                self.address: str = line["address"]
                return True
        return False

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=START_S):
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of ``/api/v1/`` ``path``.

        Raises:
            urllib.error.HTTPError: it does not take what is asked, for one a query that does not parse.
        """
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=START_S) as answer:
            message = json.load(answer)
        assert message["status"] == "success", message
        return message["data"]

    def firing(self) -> set[tuple[str, str]]:
        """Return the alerts that fire, each with its route, or its instance where it has none; "" where it has neither."""
        return {
            (labels["alertname"], labels.get("route", labels.get("instance", "")))
            for alert in self.ask("alerts")["alerts"]
            if alert["state"] == "firing"
            for labels in [alert["labels"]]
        }

    def complaints(self) -> list[str]:
        """Return what it logged as a warning or an error, which is how it tells of samples that it could not take."""
        whole = self._log_path.read_text().rpartition("\n")[0]
        return [line for line in whole.splitlines() if json.loads(line)["level"] not in ("debug", "info")]

    def _kill(self) -> None:
        self.process.kill()
        self.process.wait(START_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._kill()
