"""The CONNECT that a replay sends for a refused one: refused under every profile, and counted against its client id."""

import pytest
from gateway_clients import Desk

from broker.reporter import METRICS_TOPIC
from simulator.wire import refused_connect


@pytest.mark.parametrize("limits", ["aws", "open"])
def test_an_unknown_authentication_method_is_a_failure_of_its_client_id(limits: str) -> None:
    desk = Desk(limits)
    live = desk.client("a")
    stranger = desk.client()
    stranger.send(refused_connect("a"))
    assert (stranger.closed, live.closed) == (True, False)
    desk.gateway.tick(desk.now)
    desk.pass_time(1)
    rows = [row for topic, body in desk.events() if topic == METRICS_TOPIC for row in body["devices"]]
    counted = next(row for row in rows if row["device_id"] == "a")
    assert (counted["num_authentication_failures"], counted["num_connects"]) == (1, 1)
