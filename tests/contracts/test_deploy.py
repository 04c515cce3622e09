"""What deploy/ and the containers name is there: metrics, settings, paths, error codes."""

import json
import re
import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml
from running_service import running_service

from service import settings as service_settings
from service.errors import ERROR_KINDS
from training import settings as training_settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
FILES = [
    *(path for path in DEPLOY.rglob("*") if path.suffix in {".yml", ".yaml", ".json", ".py"}),
    ROOT / "Dockerfile",
    ROOT / "docker-compose.yml",
]
RULES = DEPLOY / "prometheus/alerts.yml"
KUBERNETES = DEPLOY / "kubernetes/foretoken.yaml"
DASHBOARD = DEPLOY / "grafana/foretoken.json"

promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed (Debian and Ubuntu: apt install prometheus)",
)
file_by_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


@pytest.fixture(scope="module")
def metrics():
    """``/metrics`` of a service that has answered well, badly, in a stream and not at all."""
    with running_service(ROOT / "bundles/travel") as service:
        service.complete(prompt="In Italy", max_tokens=4, logprobs=1)
        service.post("/v1/completions", {"prompt": "In", "max_tokens": 4, "stream": True})
        service.post("/v1/completions", {"max_tokens": -1})
        service.get("/admin/models")
        service.get("/nowhere")
        yield service.get("/metrics").text


@file_by_file
def test_every_metric_named_is_measured(file, metrics):
    for name in set(re.findall(r"\bforetoken_[a-z_]+(?=[\s{\[)(,]|$)", file.read_text("utf-8"))):
        assert re.search(rf"^{name}[ {{]", metrics, re.MULTILINE), f"{name} is not in /metrics"


@file_by_file
def test_every_setting_named_is_one(file):
    known = {f"FORETOKEN_{key}".upper() for key in service_settings.Settings.model_fields}
    known |= {training_settings.variable(key) for key in training_settings.Settings.model_fields}
    assert set(re.findall(r"FORETOKEN_[A-Z_]+", file.read_text("utf-8"))) <= known


def test_alerts_ask_for_codes_and_labels_that_there_are():
    text = RULES.read_text("utf-8")
    for codes in re.findall(r'reason=~?"([^"]+)"', text):
        assert set(codes.split("|")) <= ERROR_KINDS.keys()
    rules = yaml.safe_load(text)["groups"][0]["rules"]
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)


def test_every_metric_of_the_contract_is_drawn(metrics):
    drawn = DASHBOARD.read_text("utf-8")
    for name in re.findall(r"^# TYPE (foretoken_\w+)", metrics, re.MULTILINE):
        assert name in drawn, f"no panel shows {name}"
    panels = json.loads(drawn)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_pods_are_confined_and_asked_what_the_service_answers():
    documents = list(yaml.safe_load_all(KUBERNETES.read_text("utf-8")))
    assert [document["kind"] for document in documents] == [
        "PersistentVolumeClaim",
        "Service",
        "Deployment",
    ]
    pod = documents[2]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    for container in (*pod["initContainers"], *pod["containers"]):
        confined = container["securityContext"]
        assert confined["readOnlyRootFilesystem"]
        assert not confined["allowPrivilegeEscalation"]
        assert confined["capabilities"] == {"drop": ["ALL"]}
    service = pod["containers"][0]
    paths = {probe: service[probe]["httpGet"]["path"] for probe in service if "Probe" in probe}
    assert paths.pop("livenessProbe") == "/health"
    assert paths == {"startupProbe": "/ready", "readinessProbe": "/ready"}
    drain_seconds = service_settings.Settings().drain_timeout_s
    assert pod["terminationGracePeriodSeconds"] > drain_seconds


def test_the_images_hold_the_version_that_is_served_and_not_all_older_ones():
    served = (ROOT / "bundles/travel/CURRENT").read_text("ascii").strip()
    versions = {path.name for path in (ROOT / "bundles/travel").iterdir() if path.is_dir()}
    left = {version for version in versions if not is_ignored(Path("bundles/travel", version))}
    assert served in left
    assert left <= {served, str(int(served) - 1)}


def is_ignored(path: Path) -> bool:
    """Whether ``.dockerignore`` leaves ``path`` out: the last pattern that fits decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        if any(fnmatchcase(str(part), pattern) for part in (path, *path.parents)):
            ignored = not line.startswith("!")
    return ignored


def test_the_user_is_the_same_everywhere():
    user = re.search(r"useradd --uid (\d+)", (ROOT / "Dockerfile").read_text())[1]
    pod = list(yaml.safe_load_all(KUBERNETES.read_text("utf-8")))[2]["spec"]["template"]["spec"]
    assert str(pod["securityContext"]["runAsUser"]) == user
    assert f"USER {user}:{user}" in (ROOT / "Dockerfile").read_text()


@promtool
def test_promtool_finds_nothing_wrong_with_the_metrics(metrics):
    assert promtool_check("metrics", stdin=metrics) == (0, "")


@promtool
def test_promtool_finds_nothing_wrong_with_the_configuration():
    code, said = promtool_check("config", str(DEPLOY / "prometheus/prometheus.yml"))
    assert code == 0, said


def promtool_check(*what: str, stdin: str = "") -> tuple[int, str]:
    command = ["promtool", "check", *what]
    done = subprocess.run(command, check=False, input=stdin, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr
