"""What passed lately: bounded, by message, in order of time."""

from hypothesis import given
from hypothesis import strategies as st

from contracts.messages import Message
from contracts.trail import Step, Trail


def message(name: str) -> Message:
    return Message(name, "d", "local", "t", b"", 1, retain=False, received_at=1)


def test_a_message_is_found_in_whatever_it_passed_as() -> None:
    trail = Trail()
    trail.note("viewed", 5, [{"message_id": "m1"}, {"message_id": "m2"}])
    trail.note("routed", 1, [message("m1"), message("m2")])
    trail.note("handed on", 2, [b'{"message_id":"m1"}', b"m2"], "sns telemetry")
    trail.note("received", 3, ['{"message_id":"m1"}'])
    trail.note("received", 4, ['{"message_id":"m1"}'], "again")
    assert trail.steps("m1") == [
        Step("routed", 1), Step("handed on", 2, "sns telemetry"), Step("received", 3), Step("received", 4, "again"),
        Step("viewed", 5),
    ]  # fmt: skip
    assert [step.hop for step in trail.steps("m2")] == ["routed", "handed on", "viewed"]
    assert trail.steps("m3") == []


@given(st.lists(st.integers(1, 7), max_size=40), st.integers(0, 20))
def test_each_hop_remembers_its_last_messages_and_no_more_than_it_may(
    batches: list[int], capacity: int
) -> None:
    trail, noted = Trail(capacity=capacity), list[str]()
    for batch in batches:
        names = [f"<{len(noted) + n}>" for n in range(batch)]
        trail.note("a", len(noted), names)
        noted += names
    kept = [name for name in noted if trail.steps(name)]
    assert kept == noted[len(noted) - len(kept) :]
    assert len(kept) <= max(capacity, batches[-1] if batches and capacity else 0)
    if capacity:
        assert len(kept) >= min(len(noted), capacity - 6)
