import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from report_records import labels, phase, record, verdict

from thingstorm.report.charts import timeline
from thingstorm.report.html import render_html
from thingstorm.report.judge import judge
from thingstorm.report.junit import render_junit
from thingstorm.report.record import ExpectationResult, HopLatency, Latency, Ledger, Overall, Record, Result

FLOOD = phase("flood & co", "attack.publish_flood", 30, 40)


def played() -> tuple[Record, Result]:
    seen = record([FLOOD], labels(FLOOD, "a"), [verdict(33, "normal"), verdict(34, "attack", "a")])
    expectations = (
        ExpectationResult("flood.verdict", passed=True, expected="attack", seen="attack"),
        ExpectationResult("overall.lost", passed=False, expected="0", seen="3"),
    )
    result = Result(
        scenario="a <b>",
        seed=7,
        path="aws",
        clock="wall",
        passed=False,
        wall_seconds=61.0,
        phases=judge(seen),
        overall=Overall(lost=3),
        ledger=Ledger(published=5),
        latency=Latency(),
        expectations=expectations,
    )
    return seen, result


def test_junit_names_every_expectation_and_the_failures() -> None:
    _, result = played()
    suite = ET.fromstring(render_junit([result])).find("testsuite")
    assert suite is not None
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("a <b>", "2", "1")
    failure = suite.find("testcase[@name='overall.lost']/failure")
    assert failure is not None
    assert failure.get("message") == "expected 0, seen 3"


def svgs(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, re.DOTALL)


def test_the_page_is_well_formed_self_contained_and_escaped() -> None:
    seen, result = played()
    page = render_html([(result, seen)])
    for drawn in svgs(page):
        ET.fromstring(drawn)
    first = svgs(page)[0]
    assert first.count('class="band"') == 1
    assert first.count('class="verdict ') == 2
    assert first.count('class="sure ') == 1  # that of a verdict that is not normal
    assert "a &lt;b&gt;" in page
    assert "flood &amp; co" in page
    assert "attack &lt;a&gt;" in page
    assert "http" not in page
    assert "<script" not in page


def test_names_of_phases_that_overlap_have_rows_of_their_own() -> None:
    early, inside, later = (
        phase("early", "benign.firmware_rollout", 10, 30),
        phase("inside", "attack.publish_flood", 20, 25),
        phase("later", "fault.latency", 30, 40),
    )
    drawn = ET.fromstring(timeline(record([early, inside, later], (), [])))
    tops = [one.get("y") for one in drawn.iterfind("g/rect[@class='name']")]
    assert tops[0] == tops[2] != tops[1]


@pytest.mark.parametrize(
    ("peak", "highest"), [(0, 1), (1, 1), (5, 5), (7, 8), (99, 100), (101, 150), (12345, 15000)]
)
def test_the_axis_ends_at_a_round_number_not_under_the_peak(peak: int, highest: int) -> None:
    seen = replace(record([], (), []), traffic=((0, peak),))
    drawn = ET.fromstring(timeline(seen))
    numbers = [int(one.text) for one in drawn.iterfind("text[@text-anchor='end']") if one.text]
    assert highest in numbers
    assert max(numbers) == highest


def test_latency_is_drawn_where_hops_were_timed_and_left_out_on_the_virtual_clock() -> None:
    seen, result = played()
    assert "<h2>Latency</h2>" not in render_html([(result, seen)])
    timed = replace(
        seen, hops=(HopLatency("queue to store", 12.0, 40.0), HopLatency("store to view", 0.0, 20.0))
    )
    page = render_html([(result, timed)])
    whole, part = (
        float(w) for w in re.findall(r'class="bar(?: soft)?" x="150" y="4" width="([\d.]+)"', svgs(page)[-1])
    )
    assert part / whole == pytest.approx(12 / 40, abs=0.01)
    assert "p50 12, p95 40 ms" in page


def test_the_json_result_has_the_fields_that_people_script_against() -> None:
    _, result = played()
    told = result.as_json()
    assert set(told) == {
        "scenario", "seed", "path", "clock", "passed", "wall_seconds", "phases", "overall", "ledger", "latency", "expectations", "hash",
    }  # fmt: skip
    assert set(told["phases"][0]) == {
        "id", "kind", "label", "verdict", "expected_devices", "flagged", "recall", "false_positives", "detect_seconds",
        "quarantined", "quarantine_seconds",
    }  # fmt: skip
    assert set(told["ledger"]) == {
        "published", "accepted", "refused", "throttled", "routed", "queued", "stored", "viewed", "archived",
    }  # fmt: skip
