"""What operators put around the service: alerts, a board, a deployment. Their names are ours."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

from apps.web import task_metrics
from serve.http import metrics
from serve.http.settings import Settings, unknown

DEPLOY = Path(__file__).parent.parent / "deploy"
ALERTS = DEPLOY / "prometheus-alerts.yaml"
NAME = re.compile(r"\bdepth_[a-z_]+")
LABELS = {"instance", "job", "le"}  # Prometheus's own


def known() -> "dict[str, set[str]]":
    """Every name that /metrics may say, and its labels."""
    found = {}
    for collector in list(REGISTRY._collector_to_names):
        if getattr(collector, "_name", "").startswith("depth_"):
            for name in REGISTRY._collector_to_names[collector]:
                found[name] = set(collector._labelnames)
    return found


def check_expression(text: str) -> None:
    names = known()
    used = NAME.findall(text)
    assert used and set(used) <= set(names), text
    labels = set(re.findall(r'([a-z_]+)=~?"', text))
    for group in re.findall(r"by \(([^)]*)\)", text):
        labels |= {one.strip() for one in group.split(",")}
    assert labels <= LABELS | set().union(*(names[name] for name in used)), text


def alerts() -> "list[dict]":
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return group["rules"]


def test_alerts_are_about_what_the_service_counts():
    assert metrics.MEDIA_TYPE and task_metrics.EVENTS
    rules = alerts()
    assert len({rule["alert"] for rule in rules}) == len(rules) > 5
    for rule in rules:
        if rule["alert"] != "DepthDown":
            check_expression(rule["expr"])
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "description"} == set(rule["annotations"])


# What is seen each minute of half an hour -> the alert that it is for, and no other
SAMPLES = {
    "DepthNotReady": {"depth_workers_ready": "0x30"},
    "DepthDown": {'up{job="depth"}': "0x30"},
    "DepthFails": {
        'depth_requests_total{route="/v1/depth",status="200"}': "0+60x30",
        'depth_requests_total{route="/v1/depth",status="500"}': "0+3x30",
    },
    "DepthRefuses": {
        'depth_requests_total{route="/v1/depth",status="200"}': "0+60x30",
        'depth_requests_total{route="/v1/depth",status="429"}': "0+6x30",
        'depth_rejected_total{code="overloaded"}': "0+6x30",
    },
    "DepthSlow": {
        'depth_accepted_seconds_bucket{le="10"}': "0+90x30",
        'depth_accepted_seconds_bucket{le="30"}': "0+100x30",
        'depth_accepted_seconds_bucket{le="+Inf"}': "0+100x30",
    },
    "DepthDeviceErrors": {"depth_device_errors_total": "0x20 1x10"},
    "DepthTasksFail": {
        'depth_tasks_total{event="completed"}': "0+2x30",
        'depth_tasks_total{event="failed"}': "0+1x30",
    },
    "DepthTasksStand": {
        'depth_tasks_active{status="pending"}': "2x30",
        'depth_tasks_active{status="running"}': "0x30",
        'depth_tasks_total{event="completed"}': "5x30",
    },
    "DepthWorkersEnd": {"depth_worker_restarts_total": "0+1x30"},
    "": {
        "depth_workers_ready": "1x30",
        'up{job="depth"}': "1x30",
        'depth_requests_total{route="/v1/depth",status="200"}': "0+600x30",
        'depth_requests_total{route="/v1/depth",status="400"}': "0+600x30",
        'depth_requests_total{route="/v1/depth",status="503"}': "0+1x30",
        'depth_rejected_total{code="overloaded"}': "0+1x30",
        'depth_accepted_seconds_bucket{le="3"}': "0+600x30",
        'depth_accepted_seconds_bucket{le="+Inf"}': "0+600x30",
        "depth_worker_restarts_total": "0x10 1x20",
        "depth_device_errors_total": "0x30",
        'depth_tasks_total{event="completed"}': "0+9x30",
        'depth_tasks_total{event="failed"}': "0+1x30",
        'depth_tasks_active{status="pending"}': "3x30",
        'depth_tasks_active{status="running"}': "1x30",
    },
}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_alerts_fire_when_they_should(tmp_path):
    rules = {rule["alert"]: rule for rule in alerts()}
    assert set(rules) == set(filter(None, SAMPLES))
    tests = []
    for name, series in SAMPLES.items():
        checks = [{"eval_time": "29m", "alertname": other, "exp_alerts": []} for other in rules]
        for check in checks:
            if check["alertname"] == name:
                check["exp_alerts"] = [
                    {"exp_labels": {"severity": rules[name]["labels"]["severity"]}}
                ]
                if name == "DepthDown":
                    check["exp_alerts"][0]["exp_labels"]["job"] = "depth"
        told = [{"series": one, "values": values} for one, values in series.items()]
        tests.append({"interval": "1m", "input_series": told, "alert_rule_test": checks})
    # what the sentences say is not looked at
    bare = {
        "groups": [{"name": "depth", "rules": [_without_words(rule) for rule in rules.values()]}]
    }
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(bare))
    asked = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(asked))
    for command in (
        ["check", "rules", str(ALERTS)],
        ["test", "rules", str(tmp_path / "tests.yaml")],
    ):
        done = subprocess.run(["promtool", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def _without_words(rule):
    return {name: value for name, value in rule.items() if name != "annotations"}


def test_the_board_shows_what_the_service_counts():
    board = json.loads((DEPLOY / "grafana.json").read_text())
    variables = {one["name"] for one in board["templating"]["list"]}
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == 10
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) and all(x + 12 <= 24 for x, _ in places)
    for panel in panels:
        assert panel["type"] == "timeseries" and panel["datasource"]["uid"] == "${source}"
        for target in panel["targets"]:
            check_expression(target["expr"])
            assert set(re.findall(r"\$(?!__)(\w+)", target["expr"])) <= variables
    shown = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    unseen = {collector._name for collector in REGISTRY._collector_to_names
              if getattr(collector, "_name", "").startswith("depth_")
              and collector._name not in shown}  # fmt: skip
    assert unseen == {"depth_requests"}, "the table of alerts has it"


def objects() -> "dict[str, dict]":
    loaded = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {one["kind"]: one for one in loaded}


def test_the_deployment_is_what_hardening_asks_for():
    pod = objects()["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 1000
    assert pod["enableServiceLinks"] is pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert set(mounts) == {"/tmp", "/opt/ml/model"} and mounts["/opt/ml/model"]["readOnly"]
    assert {one["name"] for one in pod["volumes"]} == {one["name"] for one in mounts.values()}
    resources = container["resources"]
    assert resources["limits"]["aws.amazon.com/neuron"] == "1"
    assert resources["requests"]["aws.amazon.com/neuron"] == "1"


def test_the_deployment_fits_the_service():
    pod = objects()["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    told = {one["name"]: one["value"] for one in container["env"]}
    assert not unknown(told)
    settings = Settings(drain_s=float(told["DEPTH_DRAIN_S"]))
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert settings.drain_s + pause < pod["terminationGracePeriodSeconds"]
    (port,) = container["ports"]
    assert port["containerPort"] == settings.port
    probes = {
        name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")
    }
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/ping", "readiness": "/ping", "liveness": "/livez",
    }  # fmt: skip
    assert {probe["port"] for probe in probes.values()} == {port["name"]}


def test_all_objects_mean_the_same_pods():
    found = objects()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    scaler = found["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    (metric,) = scaler["metrics"]
    assert metric["pods"]["metric"]["name"] in known()
    assert 0 < float(metric["pods"]["target"]["averageValue"]) < Settings().queue_s
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == "http"
