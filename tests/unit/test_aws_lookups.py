"""What is looked up by name, over as many pages as there are: SNS topics, certificates, policies. By botocore's stubs."""

from typing import Any

import pytest
from aws_stubs import stubbed
from botocore.stub import Stubber

from contracts.errors import Terminal
from pipeline.aws.publisher import SnsPublisher
from pipeline.aws.registry import PAGE, IotRegistry

pytestmark = pytest.mark.anyio

TOPIC = "arn:aws:sns:us-east-1:000000000000:"
CERTIFICATE = "arn:aws:iot:us-east-1:000000000000:cert/c1"


async def test_a_topic_is_found_on_any_page_and_looked_up_once() -> None:
    client, stub = stubbed("sns")
    stub.add_response("list_topics", {"Topics": [{"TopicArn": f"{TOPIC}other"}], "NextToken": "n"}, {})
    stub.add_response("list_topics", {"Topics": [{"TopicArn": f"{TOPIC}mine-alerts"}]}, {"NextToken": "n"})
    for text in ("one", "two"):
        stub.add_response("publish", {"MessageId": "m"}, {"TopicArn": f"{TOPIC}mine-alerts", "Message": text})
    publisher = SnsPublisher(sns=client, prefix="mine")
    await publisher.publish("alerts", "one")
    await publisher.publish("alerts", "two")
    stub.assert_no_pending_responses()


async def test_a_topic_by_its_own_name_comes_before_the_one_with_the_prefix() -> None:
    client, stub = stubbed("sns")
    found = [{"TopicArn": f"{TOPIC}mine-alerts"}, {"TopicArn": f"{TOPIC}alerts"}]
    stub.add_response("list_topics", {"Topics": found})
    stub.add_response("publish", {"MessageId": "m"}, {"TopicArn": f"{TOPIC}alerts", "Message": "x"})
    await SnsPublisher(sns=client, prefix="mine").publish("alerts", "x")
    stub.assert_no_pending_responses()


async def test_a_topic_that_is_not_there_is_looked_for_again_the_next_time() -> None:
    client, stub = stubbed("sns")
    publisher = SnsPublisher(sns=client, prefix="mine")
    stub.add_response("list_topics", {"Topics": []})
    with pytest.raises(Terminal, match="no SNS topic alerts") as caught:
        await publisher.publish("alerts", "x")
    assert "create it" in caught.value.fix
    stub.add_response("list_topics", {"Topics": [{"TopicArn": f"{TOPIC}alerts"}]})
    stub.add_response("publish", {"MessageId": "m"})
    await publisher.publish("alerts", "x")


def certificate(number: int, status: str) -> dict[str, Any]:
    return {"certificateId": f"{number:064d}", "status": status}


async def test_every_certificate_is_told_over_all_pages() -> None:
    client, stub = stubbed("iot")
    stub.add_response(
        "list_certificates",
        {"certificates": [certificate(1, "ACTIVE"), certificate(2, "REVOKED")], "nextMarker": "m"},
        {"pageSize": PAGE},
    )
    stub.add_response(
        "list_certificates", {"certificates": [certificate(3, "INACTIVE")]}, {"pageSize": PAGE, "marker": "m"}
    )
    told = await IotRegistry(client).statuses()
    assert [told[f"{number:064d}"] for number in (1, 2, 3)] == [True, False, False]


def known(stub: Stubber, document: str) -> str:
    """A certificate without things that has one policy; its id."""
    certificate_id = "0" * 64
    stub.add_response(
        "describe_certificate",
        {"certificateDescription": {"certificateArn": CERTIFICATE, "status": "ACTIVE"}},
        {"certificateId": certificate_id},
    )
    stub.add_response("list_principal_things", {"things": []})
    stub.add_response("list_attached_policies", {"policies": [{"policyName": "p"}]}, {"target": CERTIFICATE})
    stub.add_response("get_policy", {"policyDocument": document}, {"policyName": "p"})
    return certificate_id


async def test_the_policies_of_a_certificate_are_its_rights() -> None:
    client, stub = stubbed("iot")
    certificate_id = known(stub, '{"Statement": []}')
    found = await IotRegistry(client).principal(certificate_id)
    assert found is not None
    assert (found.active, list(found.documents)) == (True, [{"Statement": []}])


@pytest.mark.parametrize("document", ["{", "[1]", "[" * 5_000])
async def test_a_policy_that_cannot_be_read_is_told_by_its_name(document: str) -> None:
    client, stub = stubbed("iot")
    certificate_id = known(stub, document)
    with pytest.raises(Terminal, match="the document of policy p is no JSON object") as caught:
        await IotRegistry(client).principal(certificate_id)
    assert "CreatePolicyVersion" in caught.value.fix


async def test_a_certificate_that_nobody_registered_is_none_and_a_refusal_is_told() -> None:
    client, stub = stubbed("iot")
    stub.add_client_error("describe_certificate", "ResourceNotFoundException", "none")
    assert await IotRegistry(client).principal("0" * 64) is None
    stub.add_client_error("describe_certificate", "AccessDeniedException", "not you")
    with pytest.raises(Terminal, match="not you"):
        await IotRegistry(client).principal("0" * 64)
