"""Topics, subscriptions, policies and metrics of the gateway."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import metrics
from broker.identity import Identity, local_identity
from broker.limits import profile
from broker.metrics import BYTES_PER_MESSAGE, MAX_DEVICES, Metrics
from broker.packets import Filter
from broker.patterns import Pattern
from broker.policy import ARN, DEVICE_DOCUMENT, Action, Policy
from broker.session import Session
from broker.subscriptions import Group, Subscription, SubscriptionTree
from broker.topics import filter_fault, matches, name_fault
from contracts.errors import ConfigError
from contracts.identity import Principal, Thing
from contracts.messages import FLEET, SECOND, CloudMetric

AWS = profile("aws")

MATCHES = [
    ("a/b", "a/b", True, True),
    ("a/+", "a/b", True, True),
    ("a/+", "a/b/c", False, False),
    ("a/#", "a/b/c", True, True),
    ("a/#", "a", False, True),
    ("#", "a/b", True, True),
    ("#", "$aws/x", False, False),
    ("+/x", "$aws/x", False, False),
    ("$aws/#", "$aws/x", True, True),
    ("a/+/c", "a//c", True, True),
    ("+", "", True, True),
    ("A", "a", False, False),
]


@pytest.mark.parametrize(("topic_filter", "topic", "aws", "mqtt"), MATCHES)
def test_filters_select_topics(topic_filter: str, topic: str, *, aws: bool, mqtt: bool) -> None:
    assert matches(topic_filter, topic, parent=False) == aws
    assert matches(topic_filter, topic, parent=True) == mqtt


def session(client_id: str) -> Session:
    permissions = local_identity(DEVICE_DOCUMENT).bind(client_id=client_id, source_ip="")
    return Session(client_id, limits=AWS, permissions=permissions, counters={})


LEVELS = st.sampled_from(["a", "b", "", "$x"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join)
FILTERS = st.tuples(st.lists(LEVELS | st.just("+"), max_size=3), st.sampled_from([["#"], ["a"], ["+"]])).map(
    lambda parts: "/".join(parts[0] + parts[1])
)


@given(st.lists(FILTERS, max_size=12), st.lists(st.integers(0, 11)), TOPICS, st.booleans())
def test_the_tree_finds_what_a_look_at_every_filter_finds(
    names: list[str],
    removed: list[int],
    topic: str,
    parent: bool,  # noqa: FBT001 - hypothesis passes it
) -> None:
    tree = SubscriptionTree(parent_matches_multilevel=parent)
    held = {}
    for number, name in enumerate(names):
        held[number] = Subscription(session(str(number)), Filter(name, 1), 1)
        tree.add(held[number])
    for number in removed:
        if number in held:
            tree.remove(held.pop(number))
    found = [one.session.client_id for one in tree.match(topic) if isinstance(one, Subscription)]
    wanted = [str(number) for number, one in held.items() if matches(one.filter.name, topic, parent=parent)]
    assert sorted(found) == sorted(wanted)
    assert tree.size == len(held)
    for one in held.values():
        tree.remove(one)
    assert tree._root.empty, "nothing is left of what nobody subscribes to"


def test_a_group_takes_turns_and_prefers_members_that_are_there() -> None:
    tree = SubscriptionTree(parent_matches_multilevel=False)
    for number in range(2):
        tree.add(Subscription(session(str(number)), Filter("$share/g/a/+", 1), 1, group="g"))
    (group,) = tree.match("a/b")
    assert isinstance(group, Group)
    picked = [one.session.client_id for _ in range(4) if (one := group.pick()) is not None]
    assert sorted(picked) == ["0", "0", "1", "1"]


@pytest.mark.parametrize("topic_filter", ["a/#", "+/+/#", "#", "$aws/things/a/#", "/" * 7, "$share/g/a/#"])
def test_filters_that_are_fine(topic_filter: str) -> None:
    assert filter_fault(topic_filter, AWS) == ""


def test_the_prefix_of_basic_ingest_does_not_count() -> None:
    assert name_fault("$aws/rules/" + "n" * 200 + "/" + "x" * 256, AWS) == ""
    assert name_fault("$aws/rules/n/" + "/".join("123456789"), AWS) == "more than 7 slashes"
    assert name_fault("$aws/rules/n/" + "x" * 200 + "/" + "x" * 100, AWS) == "longer than 256 bytes"
    assert filter_fault("", AWS) == filter_fault("a\0", AWS) == "empty filter or null character"
    assert "bytes" in name_fault("x" * 257, AWS)
    assert "bytes" in name_fault("ü" * 129, AWS)


def may(
    action: Action,
    resource: str,
    *statements: tuple[str, str, str],
    client_id: str = "a",
    principal: Principal | None = None,
) -> bool:
    document = {"Statement": [{"Effect": e, "Action": a, "Resource": ARN + r} for e, a, r in statements]}
    identity = Identity(principal, Policy(document)) if principal is not None else local_identity(document)
    return identity.bind(client_id=client_id, source_ip="10.1.2.3").allows(action, resource)


def test_what_nothing_allows_is_denied_and_a_deny_wins() -> None:
    given_ = (("Allow", "iot:*", "topic/*"), ("Deny", "iot:Publish", "topic/secret/*"))
    assert may("iot:Publish", "topic/a", *given_)
    assert not may("iot:Publish", "topic/secret/x", *given_)
    assert may("iot:Receive", "topic/secret/x", *given_)
    assert not may("iot:Connect", "client/a", *given_)


def test_mqtt_wildcards_are_plain_characters_in_a_policy() -> None:
    given_ = (("Allow", "iot:Subscribe", "topicfilter/a/#"), ("Allow", "iot:Publish", "topic/b/?"))
    assert may("iot:Subscribe", "topicfilter/a/#", *given_)
    assert not may("iot:Subscribe", "topicfilter/a/b", *given_)
    assert may("iot:Publish", "topic/b/1", *given_)
    assert not may("iot:Publish", "topic/b/12", *given_)


def test_variables_stand_for_the_client_and_wildcards_in_its_id_stay_plain() -> None:
    own = ("Allow", "iot:Publish", "topic/own/${iot:ClientId}")
    assert may("iot:Publish", "topic/own/a", own)
    assert not may("iot:Publish", "topic/own/b", own)
    assert not may("iot:Publish", "topic/own/b", own, client_id="*")
    assert may("iot:Publish", "topic/own/*", own, client_id="*")
    assert not may("iot:Publish", "topic/own/", ("Allow", "iot:Publish", "topic/own/${iot:Unknown}"))


METER = Principal(
    "cert", things=(Thing("m1", "meter", {"site": "north"}), Thing("m2", "meter", {"site": "south"}))
)


@pytest.mark.parametrize(
    ("resource", "client_id", "allowed"),
    [
        ("topic/${iot:Connection.Thing.ThingName}", "m1", "topic/m1"),
        ("topic/${iot:Connection.Thing.ThingTypeName}/x", "m1", "topic/meter/x"),
        ("topic/${iot:Connection.Thing.Attributes[site]}/?", "m2", "topic/south/1"),
    ],
)
def test_thing_variables_are_those_of_the_attached_thing_that_the_client_id_names(
    resource: str, client_id: str, allowed: str
) -> None:
    statement = ("Allow", "iot:Publish", resource)
    assert may("iot:Publish", allowed, statement, client_id=client_id, principal=METER)
    assert not may("iot:Publish", allowed, statement, client_id="other", principal=METER)


@pytest.mark.parametrize(
    ("conditions", "holds"),
    [
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, True),
        ({"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8"]}}, False),
        ({"Bool": {"iot:Connection.Thing.IsAttached": "true"}}, True),
        ({"Bool": {"iot:Connection.Thing.IsAttached": ["false"]}}, False),
        ({"StringEquals": {"iot:ClientId": ["x", "a"]}}, True),
        ({"StringNotEquals": {"iot:ClientId": "a"}}, False),
        ({"StringEqualsIgnoreCase": {"iot:ClientId": "A"}}, True),
        ({"StringLike": {"iot:ClientId": "?"}}, True),
        ({"ForAnyValue:StringLike": {"iot:ClientId": "b*"}}, False),
        ({"StringEqualsIfExists": {"iot:DomainName": "x"}}, True),
        ({"StringEquals": {"iot:DomainName": "x"}}, False),
        ({"Null": {"iot:DomainName": "true"}}, True),
        ({"NumericLessThan": {"iot:ClientId": "1"}}, False),
    ],
)
def test_conditions(conditions: dict[str, object], *, holds: bool) -> None:
    document = {
        "Statement": {"Effect": "Allow", "Action": "iot:Connect", "Resource": "*", "Condition": conditions}
    }
    bound = local_identity(document).bind(client_id="a", source_ip="10.1.2.3")
    assert bound.allows("iot:Connect", "client/a") == holds


def test_an_unknown_condition_of_a_deny_denies() -> None:
    both = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {
            "Effect": "Deny",
            "Action": "*",
            "Resource": "*",
            "Condition": {"DateLessThan": {"aws:CurrentTime": "x"}},
        },
    ]
    assert (
        not local_identity({"Statement": both})
        .bind(client_id="a", source_ip="")
        .allows("iot:Connect", "client/a")
    )


@given(st.text("ab*?", max_size=7), st.text("ab", max_size=8))
def test_patterns_match_as_a_plain_reading_of_them_does(pattern: str, text: str) -> None:
    assert Pattern(pattern).matches(text, {}) == plainly(pattern, text)


def plainly(pattern: str, text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(plainly(pattern[1:], text[cut:]) for cut in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and plainly(pattern[1:], text[1:])


@pytest.mark.parametrize(
    "document", [{}, {"Statement": 3}, {"Statement": [{"Effect": "Perhaps", "Action": "*", "Resource": "*"}]},
                 {"Statement": [{"Effect": "Allow", "Action": [1], "Resource": "*"}]},
                 {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": 1}}]}]
)  # fmt: skip
def test_what_is_no_policy_document_is_told(document: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="no policy document"):
        Policy(document)


def test_the_default_policy_lets_a_device_use_its_own_reserved_topics_only() -> None:
    bound = local_identity(DEVICE_DOCUMENT).bind(client_id="a", source_ip="")
    assert bound.allows("iot:Publish", "topic/$aws/things/a/shadow/update")
    assert not bound.allows("iot:Publish", "topic/$aws/things/b/shadow/update")


def test_decisions_are_remembered_within_a_bound() -> None:
    bound = local_identity(DEVICE_DOCUMENT).bind(client_id="a", source_ip="")
    for number in range(1_000):
        assert bound.allows("iot:Publish", f"topic/dt/{number}")
    assert len(bound._decided) <= 64


def test_metrics_are_bounded_in_devices_and_topics_and_the_fleet_counts_all() -> None:
    counting = Metrics()
    for number in range(MAX_DEVICES + 5):
        counting.of(f"d{number}").num_connection_attempts += 1
    for number in range(40):
        counting.of("d0").received(f"dt/x/{number:02}", 10 + number)
    rows = counting.close(start=0, end=SECOND)
    assert len(rows) == MAX_DEVICES + 1
    assert (rows[-1].device_id, rows[-1].num_connection_attempts) == (FLEET, MAX_DEVICES + 5)
    assert (rows[0].num_topics, len(rows[0].topics)) == (40, CloudMetric.MAX_TOPICS)
    assert (rows[0].message_byte_size_max, rows[0].message_bytes_received) == (49, sum(range(10, 50)))
    texts = list(metrics.payloads(rows))
    assert all(len(text) <= BYTES_PER_MESSAGE + 8_000 for text in texts)
    bodies = [json.loads(text) for text in texts]
    assert sum(len(body["devices"]) for body in bodies) == len(rows)
    assert bodies[-1]["devices"][-1]["num_devices"] == MAX_DEVICES
    assert (bodies[0]["start"], bodies[0]["end"]) == (0, 1000)


def test_an_idle_second_still_has_its_fleet_row() -> None:
    (row,) = Metrics().close(start=0, end=SECOND)
    assert (row.device_id, row.num_devices) == (FLEET, 0)
