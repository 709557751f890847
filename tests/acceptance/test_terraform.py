"""A rule set for AWS, applied by Terraform to a running stack as it is: `make terraform-test`."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import boto3
import paho.mqtt.client as mqtt
import pytest
from conftest import ROOT, Running

pytestmark = [pytest.mark.terraform, pytest.mark.timeout(600)]


def test_a_rule_of_terraform_routes_what_devices_send(up: Running, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ROOT / "examples/terraform", tmp_path / "rules"))
    environment = {
        "AWS_ENDPOINT_URL": up.addresses["aws"], "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test", "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1",
    }  # fmt: skip

    def terraform(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            ["terraform", *words, "-no-color"], cwd=folder, env={**os.environ, **environment},
            capture_output=True, text=True, check=False, timeout=280,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    terraform("init", "-input=false")
    terraform("apply", "-input=false", "-auto-approve")
    url = terraform("output", "-raw", "queue_url")
    sqs = boto3.client(
        "sqs", endpoint_url=up.addresses["aws"], region_name="us-east-1", aws_access_key_id="test",
        aws_secret_access_key="test",
    )  # fmt: skip
    bodies = _until_routed(up, sqs, url)
    assert bodies[0] == '{"temp_c":91,"device_id":"lamp-1","temp_f":196}'
    terraform("plan", "-input=false", "-detailed-exitcode")  # 0: there is nothing that differs
    terraform("destroy", "-auto-approve")


def _until_routed(up: Running, sqs: object, url: str) -> list[str]:
    """Hot and cold, until the first is in the queue: the rules look for new ones each second."""
    host, port = up.addresses["mqtt"].split(":")
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="lamp-1")
    client.connect(host, int(port))
    client.loop_start()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for temperature in (b"20", b"91"):
            client.publish(
                "dt/lamp/lamp-1/telemetry", b'{"temp_c": %s}' % temperature, qos=1
            ).wait_for_publish(10)
        answer = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1, MaxNumberOfMessages=10)  # type: ignore[attr-defined]
        if messages := answer.get("Messages"):
            client.disconnect()
            client.loop_stop()
            return [message["Body"] for message in messages]
    raise AssertionError("nothing came to the queue")
