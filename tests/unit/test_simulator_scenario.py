"""Scenario files: what is read, and the one clear error for everything that is wrong."""

import re
from pathlib import Path

import pytest
from pydantic import model_validator

from contracts.errors import BadScenario
from contracts.messages import MILLISECOND, SECOND
from simulator import checks, model
from simulator.behaviours.hostile import PublishFlood
from simulator.scenario import load

FILES = Path(__file__).parent / "simulator_scenarios"
SMALL = (FILES / "small.yaml").read_text()


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """`small.yaml` with one place changed."""
    assert SMALL.count(old) >= 1, old
    file = tmp_path / "x.yaml"
    file.write_text(SMALL.replace(old, new, 1))
    return file


def refusal(file: Path, **options: object) -> BadScenario:
    with pytest.raises(BadScenario) as caught:
        load(file, **options)  # type: ignore[arg-type] - the tests give what load takes
    error = caught.value
    assert str(error).startswith(f"{file}:{error.line}: ")
    assert error.fix
    assert error.exit_code == 2
    return error


def test_a_whole_file_is_read() -> None:
    scenario = load(FILES / "small.yaml")
    meter, pump = scenario.fleet
    assert (scenario.name, scenario.seed, scenario.path, scenario.clock.mode) == (
        "small",
        7,
        "direct",
        "virtual",
    )
    assert scenario.clock.start_at == 1_767_600_000 * SECOND
    assert scenario.duration == 120 * SECOND
    assert scenario.train_until == 20 * SECOND
    assert (meter.count, meter.qos, pump.qos, scenario.device_count) == (12, 1, 0, 16)
    assert (meter.every.mean, meter.every.jitter) == (SECOND, 0.2)
    assert meter.device_ids()[0] == "meter-0001"
    flood = scenario.timeline[2]
    assert (flood.at, flood.until, flood.targets.count) == (70 * SECOND, 90 * SECOND, 3)
    assert flood.parameters == {"rate_factor": 10, "ramp": "4s"}


def test_expectations_compare_and_read_well() -> None:
    expect = load(FILES / "small.yaml").expect
    flood = expect.phases["flood"]
    assert flood.flagged is not None
    assert flood.flagged.recall is not None
    assert flood.detect_within is not None
    assert (str(flood.flagged.recall), str(flood.detect_within.max)) == (">= 0.95", "<= 60s")
    assert flood.detect_within.max.holds(60.0)
    assert not flood.detect_within.max.holds(60.1)
    assert expect.overall["lost"].holds(0)
    assert not expect.overall["lost"].holds(1)
    assert flood.actions[0].within == 5 * SECOND
    assert "$price" in expect.sql[0].query


def test_variables_and_seed_are_overridden() -> None:
    scenario = load(FILES / "small.yaml", overrides={"meters": "20", "bad": "5"}, seed=99)
    assert (scenario.fleet[0].count, scenario.timeline[2].targets.count, scenario.seed) == (20, 5, 99)


def test_variables_work_inside_text_and_upon_each_other(tmp_path: Path) -> None:
    file = changed(
        tmp_path, "vars: {meters: 12, bad: 3}", "vars: {meters: 12, bad: 3, what: tiny, more: 'very $what'}"
    )
    file.write_text(file.read_text().replace("four kinds", "$more, costs $$5, $$what"))
    assert load(file).description.startswith("very tiny, costs $5, $what of payload")


def test_a_reserved_topic_is_written_with_two_dollars(tmp_path: Path) -> None:
    file = changed(tmp_path, '"cmd/meter/{device}/#"', '"$$aws/things/{device}/shadow/#"')
    assert load(file).fleet[0].listens == ("$aws/things/{device}/shadow/#",)


def test_short_files_have_defaults(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        "scenario: v1\nname: a\nduration: 30s\nfleet: [{group: m, count: 1, topic: t, every: 500ms}]\ntimeline:\n"
    )
    scenario = load(file)
    assert (scenario.fleet[0].every.mean, scenario.fleet[0].qos, scenario.timeline) == (
        500 * MILLISECOND,
        1,
        (),
    )
    assert scenario.train_until == 10 * SECOND


BAD = [
    # (what stands there, what stands there instead, words of the message, words of the fix)
    ("    count: $meters", "    cuont: $meters", "unknown key 'cuont'", "did you mean 'count'?"),
    ("tags: [unit]", "tgas: [unit]", "unknown key 'tgas'", "did you mean 'tags'?"),
    ("mean: 1s,", "maen: 1s,", "unknown key 'maen'", "did you mean 'mean'?"),
    ("verdict: attack", "verdikt: attack", "unknown key 'verdikt'", "verdict"),
    ("lost: 0}", "losst: 0}", "unknown key 'losst'", "did you mean 'lost'?"),
    ("    for: 20s", "    length: 20s", "unknown key 'length'", "for"),
    ("    count: $meters", "    count: -1", "fleet.0.count", "count"),
    ("    count: $meters", "    count: 0", "greater than 0", "count"),
    ("    count: $meters", "    count: yes", "valid integer", "count"),
    ("    count: $meters", "    count: 20000", "10000", "count"),
    ("    count: $meters", "    count: $metres", "unknown variable $metres", "meters"),
    ("    qos: 1", "    qos: 2", "0 or 1", "qos"),
    ("  - group: pump", "  - group: meter", "two groups are named 'meter'", "another"),
    ("  - id: storm", "  - id: rollout", "two phases are named 'rollout'", "another id"),
    ("duration: 2m", "duration: 0s", "longer than nothing", "duration"),
    ("duration: 2m", "duration: -5s", "no duration", "duration"),
    ("duration: 2m", "duration: 120", "no duration: write 30s", "duration"),
    ("duration: 2m", "duration: 99999999999999h", "no duration", "duration"),
    ("    at: 95s", "    at: 200s", "starts at 200s", "earlier"),
    ("    for: 15s", "    for: 80s", "phase 'storm' ends at 130s", "shorter"),
    ("    for: 15s", "    for: 0s", "longer than nothing", "for"),
    ("train: {until: 20s}", "train: {until: 21s}", "after phase 'rollout' begins", "20s"),
    ("train: {until: 20s}", "train: {until: 3m}", "train.until", "train"),
    ("attack.publish_flood", "attack.publish_flod", "unknown behaviour", "did you mean 'attack.publish_flood'?"),
    ("attack.publish_flood", "attack.replay", "unknown parameter", "attack.replay takes"),
    ("attack.publish_flood", "fault.stream_lag", "unknown parameter", "fault.stream_lag takes"),
    ("targets: {group: meter, count: $bad, pick: random}", "", "needs targets", "add targets"),
    ("group: meter, count: $bad", "group: metre, count: $bad", "no group is named 'metre'", "did you mean 'meter'?"),
    ("count: $bad", "count: 13", "13 targets", "at most 12"),
    ("count: $bad", "count: 2, fraction: 0.5", "not both", "targets"),
    ("{group: meter}", "{group: meter, waves: 2}", "does not come in waves", "leave waves out"),
    ("ramp: 4s", "rmap: 4s", "unknown parameter 'rmap'", "did you mean 'ramp'?"),
    ("ramp: 4s", "ramp: 4", "no duration", "attack.publish_flood takes"),
    ("rate_factor: 10", "rate_factor: .nan", "finite", "attack.publish_flood takes"),
    ("/c2/beacon", "/c2/{devcie}", "{devcie}", "attack.coordinated_botnet takes"),
    ("    flood:", "    flod:", "unknown phase 'flod'", "did you mean 'flood'?"),
    ("{lte: 60s}", "{lte: 60s, gte: 1s}", "a comparison has one of", "max"),
    ("{lte: 60s}", "{below: 60s}", "a comparison has one of", "max"),
    ("lost: 0}", f"lost: {10**400}}}", "neither a number nor a duration", "lost"),
    ("jitter: 20%", f"jitter: {10**400}", "no share", "jitter"),
    ("seed: 7", "seeds: [1, 2]", "makes 2 scenarios", "--seed"),
    ("seed: 7", "faults: []", "'faults' is not supported yet", "leave"),
    ('{const: "1.4.2"}', "{serie: [1]}", "unknown generator 'serie'", "did you mean 'series'?"),
    ('{const: "1.4.2"}', "{const: 1, choice: [2]}", "exactly one of", "fw"),
    ('{const: "1.4.2"}', "{const: 2026-01-05}", "no JSON value", "const"),
    ('{const: "1.4.2"}', "{choice: []}", "choice is empty", "fw"),
    ("      fw:", "      seq:", "'seq' is in every payload already", "payload"),
    ("start: 400", "start: -1", "a walk starts between min and max", "walk"),
    ('peak: "15:00"', "peak: 15:00", "no clock time", "peak"),
    ('start: "2026-01-05T08:00:00Z"', "start: 2026-01-05T08:00:00Z", "no moment", "start"),
    ("dt/meter/{device}/telemetry", "dt/meter/+/telemetry", "wildcard", "topic"),
    ("dt/meter/{device}/telemetry", "dt/meter/{devcie}/telemetry", "{devcie}", "topic"),
    ('"cmd/meter/{device}/#"', '"cmd/#/x"', "no topic filter", "listens"),
    ("{dist: poisson, mean: 2s}", "{dist: poisson, mean: 2s, jitter: 10%}", "poisson takes no jitter", "every"),
    ("seed: 7", "seed: 7\nseed: 8", "'seed' stands twice", "remove"),
    ("duration: 2m", "duration: [2m", "not valid YAML", "brackets"),
    ("scenario: v1", "scenario: v9", "v1", "scenario"),
    ("path: direct", "path: direct\ntransport: rav", "'paho' or 'raw'", "transport"),
    ("path: direct", "path: direct\ntransports: raw", "unknown key 'transports'", "did you mean 'transport'?"),
    ("name: small", "name: 'Small One'", "name", "name"),
    ("description: four", "description: 2026-13-45\nx: four", "month must be", "quotes"),
    ("description: four", 'description: "\\uD800"\nx: four', "holds half a character", "write the character"),
    ("tags: [unit]", '"\\uDFFF": 1', "holds half a character", "write the character"),
    ("seed: 7", "seed: 7\n? [a]\n: 1", "a key is a list", "word"),
    ("vars: {meters", "vars: {list: [1], meters", "'list' is a list or mapping", "number"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "told", "fix"), BAD)
def test_what_is_wrong_is_refused_with_its_position(
    tmp_path: Path, old: str, new: str, told: str, fix: str
) -> None:
    error = refusal(changed(tmp_path, old, new))
    assert told in str(error)
    assert fix in error.fix


@pytest.mark.parametrize(
    ("old", "new", "marker"),
    [
        ("    count: 4", "    cuont: 4", "cuont"),
        ("    count: 4", "    count: -1", "count: -1"),
        ("  - group: pump", "  - group: meter", "- group: meter\n    count: 4"),
        ("    for: 15s", "    for: 80s", "for: 80s"),
        ("    at: 95s", "    at: 200s", "at: 200s"),
        ("train: {until: 20s}", "train: {until: 21s}", "train:"),
        ("    with: {rate_factor: 10, ramp: 4s}", "    with:\n      rate_factor: 10\n      rmap: 4s", "rmap"),
        ("    flood:", "    flod:", "flod:"),
        ("seed: 7", "seed: 7\nseed: 8", "seed: 8"),
        ("qos: 0", "qos: 3", "qos: 3"),
    ],
)
def test_the_line_is_that_of_the_offending_key(tmp_path: Path, old: str, new: str, marker: str) -> None:
    file = changed(tmp_path, old, new)
    text = file.read_text()
    assert refusal(file).line == text.count("\n", 0, text.index(marker)) + 1


def test_a_missing_key_points_at_what_lacks_it(tmp_path: Path) -> None:
    file = changed(tmp_path, "    kind: benign.reconnect_storm\n", "")
    error = refusal(file)
    assert "'kind' is missing" in str(error)
    assert error.line == SMALL.count("\n", 0, SMALL.index("- id: storm")) + 1


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"meterz": "3"}, "no variable 'meterz'"),
        ({"meters": "[1"}, "not a number or a text"),
        ({"meters": "[1]"}, "not a number or a text"),
        ({"meters": "-1"}, "greater than 0"),
        ({"meters": "two"}, "valid integer"),
    ],
)
def test_wrong_overrides_are_refused(overrides: dict[str, str], told: str) -> None:
    assert told in str(refusal(FILES / "small.yaml", overrides=overrides))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"- a list\n",
        b"just text",
        b"\xff\xfe\x00bad",
        b"scenario: v1\nname: \x00\n",
        b"a: &a [*a]\n",
        b"a: &a {b: *a}\n",
        b"[" * 3000,
        b"scenario: v1\n---\nscenario: v1\n",
        b"scenario: !!python/object:os.system {}\n",
        b"x: *nobody\n",
        b"\tscenario: v1\n",
        b"duration: " + b"9" * 5000,
        (
            b"l: [a: &a [1,1,1,1,1,1,1,1,1], b: &b [*a,*a,*a,*a,*a,*a,*a,*a], c: &c [*b,*b,*b,*b,*b,*b,*b,*b],"
            b"d: &d [*c,*c,*c,*c,*c,*c,*c,*c], e: &e [*d,*d,*d,*d,*d,*d,*d,*d], f: [*e,*e,*e,*e,*e,*e,*e,*e]]"
        ),
    ],
)
def test_what_is_no_scenario_at_all_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)
    assert not re.search("Traceback", str(refusal(file)))


class Picky(PublishFlood):
    """A behaviour whose parameters must agree."""

    @model_validator(mode="after")
    def _never(self) -> "Picky":
        raise ValueError("these two do not go together")


def test_parameters_that_do_not_agree_are_refused_at_with(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**checks.BEHAVIOURS, "attack.publish_flood": Picky}
    monkeypatch.setattr(checks, "BEHAVIOURS", known)
    monkeypatch.setattr(model, "BEHAVIOURS", known)
    error = refusal(FILES / "small.yaml")
    assert "with: these two do not go together" in str(error)
    assert error.line == SMALL.count("\n", 0, SMALL.index("    with: {rate_factor: 10")) + 1


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in str(refusal(tmp_path / "none.yaml"))
    assert "cannot be read" in str(refusal(tmp_path))


def test_two_queries_of_one_name_are_refused(tmp_path: Path) -> None:
    old = "    - {name: nothing twice"
    file = changed(tmp_path, old, f"    - {{name: nothing twice, query: q, rows: []}}\n{old}")
    assert "two queries are named 'nothing twice'" in str(refusal(file))
