"""The contract of AWS backends on LocalStack (SNS, SQS, S3, Firehose), and the whole stack over it."""

import httpx
import pytest
from aws_backend import AwsBackendContract

from pipeline.aws.session import ClientFactory
from thingstorm.testing.stack import Stack

pytestmark = [pytest.mark.localstack, pytest.mark.timeout(300)]


class TestLocalStack(AwsBackendContract):
    sns_to_firehose = True

    @pytest.fixture(scope="class")
    @classmethod
    def factory(cls, localstack: str, dynamodb: str) -> ClientFactory:
        return ClientFactory(backend="localstack", endpoint=localstack)


def test_messages_go_from_a_device_to_the_view_and_the_archive(localstack: str, dynamodb: str) -> None:
    settings = [f"aws.endpoint={localstack}", "pipeline.archive_seconds=1"]
    with Stack(aws="localstack", settings=settings) as stack:
        with stack.mqtt("meter-1") as meter:
            for number in range(20):
                meter.publish("dt/meter/meter-1/telemetry", {"n": number})
        stack.settle(timeout=60)
        for table in ("telemetry", "archive"):
            asked = f"SELECT count(*) AS n, count(DISTINCT payload->>'n') AS d FROM {table}"
            assert stack.sql(asked) == [{"n": 20, "d": 20}]
        services = httpx.get(f"{stack.addresses['api']}/healthz", timeout=10).json()["services"]
        (rules,) = [one for one in services if one["name"] == "rules"]
        assert (rules["state"], rules["detail"]) == ("ready", ""), (
            "it has no iot APIs, and is not asked for them"
        )
