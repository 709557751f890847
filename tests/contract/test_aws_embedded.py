"""The contract of AWS backends, on ministack."""

import pytest
from aws_backend import AwsBackendContract

from pipeline.aws.session import ClientFactory


class TestEmbedded(AwsBackendContract):
    @pytest.fixture(scope="class")
    @classmethod
    def factory(cls, endpoint: str) -> ClientFactory:
        return ClientFactory(backend="embedded", endpoint=endpoint)
