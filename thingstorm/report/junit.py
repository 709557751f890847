"""JUnit XML: one suite a scenario, one case an expectation, for the test views of CI systems."""

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from thingstorm.report.record import ExpectationResult, Result


def render_junit(results: Iterable[Result]) -> str:
    """The XML document as text, with its declaration."""
    root = ET.Element("testsuites", name="thingstorm")
    for result in results:
        root.append(_suite(result))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(result: Result) -> ET.Element:
    failed = sum(not (one.passed or one.gap) for one in result.expectations)
    skipped = sum(bool(one.gap) and not one.passed for one in result.expectations)
    suite = ET.Element(
        "testsuite",
        name=result.scenario,
        tests=str(len(result.expectations)),
        failures=str(failed),
        skipped=str(skipped),
        time=f"{result.wall_seconds:.3f}",
    )
    for expectation in result.expectations:
        suite.append(_case(result, expectation))
    return suite


def _case(result: Result, expectation: ExpectationResult) -> ET.Element:
    case = ET.Element("testcase", classname=f"{result.scenario}.seed{result.seed}", name=expectation.name)
    message = f"expected {expectation.expected}, seen {expectation.seen}"
    if expectation.gap and not expectation.passed:
        ET.SubElement(case, "skipped", message=f"known gap: {expectation.gap} ({message})")
    elif not expectation.passed:
        ET.SubElement(case, "failure", message=message).text = message
    return case
