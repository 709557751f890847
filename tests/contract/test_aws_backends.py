"""The contract of AWS backends, on ministack: as the emulator it is, and as an account with a stack of CloudFormation's."""

from collections.abc import Iterator

import pytest
from aws_backend import AwsBackendContract

from pipeline.aws.deploying import Deployment
from pipeline.aws.provision import Resources, provision
from pipeline.aws.session import ClientFactory

pytestmark = pytest.mark.timeout(120)  # the first to deploy waits until the emulator has loaded every service


class TestEmbedded(AwsBackendContract):
    @pytest.fixture(scope="class")
    @classmethod
    def factory(cls, endpoint: str) -> ClientFactory:
        return ClientFactory(backend="embedded", endpoint=endpoint)


class TestAws(AwsBackendContract):
    """Clients of the backend aws, signed and validated; the resources are found in the stack, not made."""

    @pytest.fixture(scope="class")
    @classmethod
    def factory(cls, endpoint: str) -> Iterator[ClientFactory]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            yield ClientFactory(backend="aws", endpoint=endpoint)

    @pytest.fixture(scope="class")
    @classmethod
    def resources(cls, factory: ClientFactory, prefix: str) -> Resources:
        told: list[str] = []
        Deployment(factory, prefix=prefix, parameters={"RunHandler": "false"}, poll=0.05).execute(told.append)
        assert "CREATE_COMPLETE" in told[-1]
        return provision(factory, prefix=prefix)
