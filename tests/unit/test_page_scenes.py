"""The page's list of scenarios, with a folder of one's own."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.errors import ConfigError, UnknownName
from thingstorm.config import load_config
from thingstorm.dashboard.devices import Devices
from thingstorm.dashboard.scenes import Scenes

OWN = """scenario: v1
name: mine
description: of my own
duration: 5s
vars: {count: 2}
fleet: [{group: meter, count: $count, topic: "dt/{device}", every: 1s, payload: {v: {const: 1}}}]
"""


def scenes(folder: Path) -> Scenes:
    stage: Any = SimpleNamespace(config=load_config(flags={"api": {"scenarios": str(folder)}}))
    return Scenes(stage)


def test_a_folder_that_is_not_there_is_told_before_the_page_opens(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder .*none"):
        scenes(tmp_path / "none")


@pytest.mark.anyio
async def test_own_files_stand_beside_the_library(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(OWN)
    (tmp_path / "known-gaps.yaml").write_text("{}")
    (tmp_path / "broken.yaml").write_text("scenario: v9")
    made = scenes(tmp_path)
    listed = {one["name"]: one for one in (await made.files())["scenarios"]}
    assert {"demo", "own/mine"} <= listed.keys()
    assert "own/known-gaps" not in listed
    told = await made.file("own/mine")
    assert told["description"] == "of my own"
    with pytest.raises(UnknownName):
        await made.file("own/none")


@pytest.mark.anyio
@pytest.mark.parametrize(("given", "told"), [({"sort": "colour"}, "order"), ({"state": "happy"}, "state")])
async def test_a_list_of_devices_in_no_known_order_or_state_is_refused(
    given: dict[str, str], told: str
) -> None:
    stage: Any = SimpleNamespace()
    with pytest.raises(UnknownName, match=told):
        await Devices(stage).every(given)
