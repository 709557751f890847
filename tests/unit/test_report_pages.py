from xml.etree import ElementTree as ET

from report_records import labels, phase, record, verdict

from thingstorm.report.html import render_html
from thingstorm.report.judge import judge
from thingstorm.report.junit import render_junit
from thingstorm.report.record import ExpectationResult, Latency, Ledger, Overall, Record, Result

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


def test_the_page_is_well_formed_self_contained_and_escaped() -> None:
    seen, result = played()
    page = render_html([(result, seen)])
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    assert (
        len(ET.fromstring(svg).findall("rect")) == 1 + 2
    )  # one band for the phase, one mark for each verdict
    assert "a &lt;b&gt;" in page
    assert "flood &amp; co" in page
    assert "attack &lt;a&gt;" in page
    assert "http" not in page
    assert "<script" not in page


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
