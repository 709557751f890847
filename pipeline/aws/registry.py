"""The registry of AWS IoT through its control plane: what is known of a certificate, and new devices.

Source: AWS IoT API reference (DescribeCertificate, ListAttachedPolicies, ListPrincipalThings, ...).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread

from contracts.errors import ConfigError, Terminal
from contracts.identity import Credentials, Principal, Thing
from contracts.messages import Json

from .session import translated

T = TypeVar("T")

THREADS = 4
PAGE = 250
"""The largest page that the control plane gives."""

POLICY_BYTES = 2048
POLICY_VERSIONS = 5
"""AWS keeps so many versions of a policy; a sixth is refused."""

_THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
_NOT_FOUND = "ResourceNotFoundException"


def own_topics(device_id: str, *, arn: str) -> dict[str, Json]:
    """The policy of a device that may use its own topics only: data, commands, shadow, Basic Ingest."""
    name = "${iot:Connection.Thing.ThingName}"
    own = [f"dt/*/{name}/*", f"dt/{name}/*", f"cmd/*/{name}/*", f"cmd/{name}/*", f"$aws/things/{name}/*"]
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"{arn}client/{device_id}"},
            {
                "Effect": "Allow",
                "Action": ["iot:Publish", "iot:RetainPublish", "iot:Receive"],
                "Resource": [f"{arn}topic/{topic}" for topic in [*own, "$aws/rules/*"]],
            },
            {
                "Effect": "Allow",
                "Action": "iot:Subscribe",
                "Resource": [f"{arn}topicfilter/{topic}" for topic in own],
            },
        ],
    }


class IotRegistry:
    """The port `Registry` over a boto3 client of the service `iot`."""

    def __init__(self, iot: Any, *, root_ca: str = "") -> None:
        """`root_ca` is the PEM that new devices are given to trust."""
        self.root_ca = root_ca
        self._iot = iot
        self._limiter = CapacityLimiter(THREADS)
        self._certificates: dict[str, str] = {}

    async def principal(self, certificate_id: str) -> Principal | None:
        """What is known of a certificate; None if it is not registered. Raises Transient, Terminal."""
        return await self._run(lambda: self._principal(certificate_id))

    async def statuses(self) -> Mapping[str, bool]:
        """Every registered certificate, and whether it is active. Raises Transient, Terminal."""
        return await self._run(
            lambda: {one["certificateId"]: one["status"] == "ACTIVE" for one in self._all_certificates()}
        )

    async def trust_anchors(self) -> tuple[str, ...]:
        """PEM of every registered certificate and CA: the registry decides, not who signed.

        Each is fetched once; a second call costs one listing. Raises Transient, Terminal.
        """
        return await self._run(self._anchors)

    async def create_device(self, device_id: str, *, policy: Mapping[str, Json] | None = None) -> Credentials:
        """Make a thing, an active certificate and a policy, all attached. Raises ConfigError, Transient, Terminal."""
        if not _THING_NAME.fullmatch(device_id):
            raise ConfigError(
                f"device id '{device_id[:200]}' is no thing name",
                fix="choose 1 to 128 letters, digits, ':', '_' or '-'",
            )
        return await self._run(lambda: self._create(device_id, policy))

    async def set_active(self, certificate_id: str, *, active: bool) -> None:
        """Make a certificate ACTIVE or INACTIVE. Raises Transient, Terminal."""
        status = "ACTIVE" if active else "INACTIVE"
        await self._run(lambda: self._iot.update_certificate(certificateId=certificate_id, newStatus=status))

    async def _run(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(translated(work), limiter=self._limiter)

    def _principal(self, certificate_id: str) -> Principal | None:
        try:
            found = self._iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]
        except self._iot.exceptions.ClientError as error:
            if error.response["Error"]["Code"] == _NOT_FOUND:
                return None
            raise
        arn = found["certificateArn"]
        things = tuple(self._thing(name) for name in self._things_of(arn))
        names = [*self._policies_of(arn), *self._policies_of_groups(things)]
        documents = tuple(self._document(name) for name in dict.fromkeys(names))
        return Principal(certificate_id, found["status"] == "ACTIVE", documents, things)

    def _policies_of(self, target: str) -> list[str]:
        pages = self._iot.get_paginator("list_attached_policies").paginate(target=target)
        return [one["policyName"] for page in pages for one in page["policies"]]

    def _policies_of_groups(self, things: tuple[Thing, ...]) -> Iterator[str]:
        """A thing has the policies of its groups too."""
        for thing in things:
            pages = self._iot.get_paginator("list_thing_groups_for_thing").paginate(thingName=thing.name)
            for group in (one for page in pages for one in page["thingGroups"]):
                yield from self._policies_of(group["groupArn"])

    def _document(self, policy: str) -> Mapping[str, Json]:
        document = self._iot.get_policy(policyName=policy)["policyDocument"]
        try:
            parsed = json.loads(document)
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            raise Terminal(
                f"the document of policy {policy} is no JSON object",
                fix="put it again: iot:CreatePolicyVersion",
            )
        return parsed

    def _things_of(self, arn: str) -> list[str]:
        pages = self._iot.get_paginator("list_principal_things").paginate(principal=arn)
        return [name for page in pages for name in page["things"]]

    def _thing(self, name: str) -> Thing:
        found = self._iot.describe_thing(thingName=name)
        return Thing(name, found.get("thingTypeName") or "", dict(found.get("attributes") or {}))

    def _all_certificates(self) -> Iterator[Mapping[str, Any]]:
        marker: dict[str, str] = {}
        while True:
            page = self._iot.list_certificates(pageSize=PAGE, **marker)
            yield from page["certificates"]
            if not page.get("nextMarker"):
                return
            marker = {"marker": page["nextMarker"]}

    def _anchors(self) -> tuple[str, ...]:
        listed = [one["certificateId"] for one in self._all_certificates()]
        for certificate_id in listed:
            if certificate_id not in self._certificates:
                found = self._iot.describe_certificate(certificateId=certificate_id)
                self._certificates[certificate_id] = found["certificateDescription"]["certificatePem"]
        self._certificates = {one: self._certificates[one] for one in listed}
        authorities = self._iot.list_ca_certificates(pageSize=PAGE).get("certificates", [])
        known = [
            self._iot.describe_ca_certificate(certificateId=one["certificateId"])["certificateDescription"]
            for one in authorities
        ]
        return (*self._certificates.values(), *(one["certificatePem"] for one in known))

    def _create(self, device_id: str, policy: Mapping[str, Json] | None) -> Credentials:
        self._iot.create_thing(thingName=device_id)
        made = self._iot.create_keys_and_certificate(setAsActive=True)
        arn = made["certificateArn"]
        here = arn.rpartition("cert/")[0]
        document = _checked(policy or own_topics(device_id, arn=here))
        name = f"{device_id.replace(':', '_')}-policy"
        self._put_policy(name, document)
        self._iot.attach_policy(policyName=name, target=arn)
        self._iot.attach_thing_principal(thingName=device_id, principal=arn)
        return Credentials(
            made["certificateId"], made["certificatePem"], made["keyPair"]["PrivateKey"], self.root_ca
        )

    def _put_policy(self, name: str, document: str) -> None:
        """A new policy, or a new version in the place of an earlier one."""
        try:
            self._iot.create_policy(policyName=name, policyDocument=document)
        except self._iot.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
                raise
            versions = self._iot.list_policy_versions(policyName=name)["policyVersions"]
            spare = [one["versionId"] for one in versions if not one["isDefaultVersion"]]
            if len(versions) >= POLICY_VERSIONS:
                oldest = min(spare, key=int)
                self._iot.delete_policy_version(policyName=name, policyVersionId=oldest)
            self._iot.create_policy_version(policyName=name, policyDocument=document, setAsDefault=True)


def _checked(policy: Mapping[str, Json]) -> str:
    document = json.dumps(policy, separators=(",", ":"))
    if not isinstance(policy.get("Statement"), list | dict):
        raise ConfigError(
            "no policy document: it has no Statement",
            fix='write {"Version": ..., "Statement": [{"Effect": "Allow", "Action": ..., "Resource": ...}]}',
        )
    if len(document) > POLICY_BYTES:
        raise ConfigError(
            f"the policy document has {len(document)} characters",
            fix=f"AWS allows {POLICY_BYTES}; shorten it",
        )
    return document
