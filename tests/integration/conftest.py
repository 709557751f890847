"""One real emulator for all integration tests of a worker; names that are used once keep them apart."""

from dataclasses import dataclass
from typing import Any

import pytest
from emulator import endpoint

from pipeline.aws.provision import Resources, provision
from pipeline.aws.session import ClientFactory


@dataclass(frozen=True)
class Aws:
    """Clients of the emulator and freshly provisioned resources."""

    factory: ClientFactory
    resources: Resources
    prefix: str

    def client(self, service: str) -> Any:
        return self.factory.client(service)


@pytest.fixture
def provisioned(endpoint: str, unique: str) -> Aws:
    factory = ClientFactory(backend="embedded", endpoint=endpoint)
    return Aws(factory, provision(factory, prefix=unique), unique)


__all__ = ["Aws", "endpoint", "provisioned"]
