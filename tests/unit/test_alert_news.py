"""Which moments of an incident are told: opened, worse, over; never a reminder."""

from dataclasses import replace

from alert_samples import OPENED, an_incident
from hypothesis import given
from hypothesis import strategies as st

from analytics.alerting.news import PAUSE_SECONDS, News
from contracts.messages import SECOND, ActionTaken, Incident


def test_an_incident_is_told_once_however_long_it_lasts() -> None:
    news, incident = News(), an_incident()
    told = [
        news.of(replace(incident, updated_at=OPENED + n * SECOND), OPENED + n * SECOND) for n in range(600)
    ]
    (first,) = (alert for alert in told if alert)
    assert (first.happened, first.alert_id) == ("opened", f"{incident.incident_id}-1")


def test_doubt_that_turns_into_an_attack_is_told_at_once() -> None:
    news = News()
    kinds = [news.of(an_incident(kind), OPENED) for kind in ("undecided", "attack", "attack", "undecided")]
    assert [alert.happened if alert else None for alert in kinds] == ["opened", "worsened", None, None]


def test_an_attack_that_doubles_is_told_after_the_pause() -> None:
    news = News()
    at = [OPENED, OPENED + SECOND, OPENED + PAUSE_SECONDS * SECOND, OPENED + 3 * PAUSE_SECONDS * SECOND]
    told = [news.of(an_incident(devices=count), when) for count, when in zip((2, 4, 4, 7), at, strict=True)]
    assert [alert.happened if alert else None for alert in told] == ["opened", None, "worsened", None]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=120))
def test_a_growing_attack_is_at_most_ten_alerts(sizes: list[int]) -> None:
    news = News()
    told = [
        news.of(an_incident(devices=count), OPENED + n * PAUSE_SECONDS * SECOND)
        for n, count in enumerate(sorted(sizes))
    ]
    alerts = [alert for alert in told if alert]
    assert 1 <= len(alerts) <= 10
    assert [alert.alert_id.rpartition("-")[2] for alert in alerts] == [str(n + 1) for n in range(len(alerts))]


def test_a_benign_uptick_is_no_news_not_even_its_end() -> None:
    news, incident = News(), an_incident("benign_uptick", 0)
    assert news.of(incident, OPENED) is None
    assert news.over(lambda _: replace(incident, closed_at=OPENED), OPENED) == []


def test_what_was_told_is_told_to_be_over_once_and_opened_again_if_it_comes_back() -> None:
    news, incident = News(), an_incident()
    book: dict[str, Incident] = {incident.incident_id: incident}
    news.of(incident, OPENED)
    assert news.over(book.get, OPENED) == []
    book[incident.incident_id] = replace(incident, closed_at=OPENED + 9 * SECOND)
    assert [alert.happened for alert in news.over(book.get, OPENED)] == ["closed"]
    assert news.over(book.get, OPENED) == []
    again = news.of(incident, OPENED)
    assert again is not None
    assert (again.happened, again.alert_id[-2:]) == ("opened", "-3")


def _told(incident: Incident, *actions: tuple[str, str]) -> Incident:
    taken = [
        ActionTaken(action, channel, OPENED, "done", incident.incident_id)  # type: ignore[arg-type]  # of the two kinds
        for action, channel in actions
    ]
    return replace(incident, actions=tuple(taken))


def test_a_restarted_process_tells_nobody_twice_and_goes_on_counting() -> None:
    news = News()
    incident = _told(an_incident(), ("alert", "sns"), ("alert", "hook"))
    news.restore(incident)
    assert news.of(incident, OPENED + SECOND) is None
    (over,) = news.over(lambda _: replace(incident, closed_at=OPENED), OPENED + SECOND)
    assert (over.happened, over.alert_id[-2:]) == ("closed", "-2")


def test_what_was_told_to_be_over_before_the_restart_is_not_told_again() -> None:
    news = News()
    closed = _told(an_incident(closed_at=OPENED), ("alert", "sns"), ("all_clear", "sns"))
    news.restore(closed)
    assert news.over(lambda _: closed, OPENED + SECOND) == []


def test_a_first_failure_in_the_record_is_not_counted_as_an_alert() -> None:
    news, incident = News(), an_incident()
    failed = ActionTaken("alert", "hook", OPENED, "failed: away; it is tried again", incident.incident_id)
    done = replace(failed, outcome="done")
    news.restore(replace(incident, actions=(failed, done)))
    (over,) = news.over(lambda _: replace(incident, closed_at=OPENED), OPENED)
    assert over.alert_id.endswith("-2")
