"""What `thingstorm evaluate` refuses before it plays anything."""

from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ThingstormError
from thingstorm.cli.evaluate import evaluate

SCENARIO = """scenario: v1
name: calm
duration: 5s
fleet: [{group: meter, count: 1, topic: "dt/{device}", every: 1s, payload: {v: {const: 1}}}]
"""


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"save": True, "seeds": "3"}, "were used for tuning"),
        ({"save": True, "seeds": "77"}, "were used for tuning"),  # the scenario's own
        ({"calibrate": Path("c.json")}, "are reported"),
        ({"seeds": "x"}, "no list of numbers"),
        ({"model": "kmn"}, "kmn"),
        ({"baseline": Path("none.json")}, "none.json"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("calm.yaml").write_text(SCENARIO + "seed: 77\n")
    given = dict.fromkeys(("model", "seeds", "json_file", "baseline", "calibrate", "processes", "config"))
    with pytest.raises(ThingstormError) as caught:
        evaluate([Path("calm.yaml")], **{**given, "save": False, **flags})
    assert told in caught.value.what
    assert caught.value.exit_code == 2
