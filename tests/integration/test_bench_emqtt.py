"""What the bench reads from emqtt-bench, by a stand-in that prints as it does; the program itself is not needed."""

import stat
import subprocess
from pathlib import Path

import pytest

from contracts.errors import BackendError
from thingstorm.bench import simulator_emqtt

SETTINGS = {"port": 1, "devices": 10, "every": "20ms", "qos": 1, "seconds": 0.6}


@pytest.fixture
def a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Comes first on the PATH; the test writes what it does."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(simulator_emqtt, "WARM_SECONDS", 0.5)
    return tmp_path / "emqtt_bench"


def write(program: Path, text: str) -> None:
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_its_count_between_two_moments_is_the_figure(a_program: Path) -> None:
    loop = 'while true; do n=$((n+1)); echo "${n}s pub total=$((n*500)) rate=500.00/sec"; sleep 0.1; done'
    write(a_program, f'echo "1s connect_succ total=10 rate=10/sec"; {loop}')
    figures = simulator_emqtt.paced(SETTINGS)
    assert figures["messages_per_s"] == 500
    assert figures["cpu_us_per_message"] >= 0
    assert 0 <= figures["cpu_share"] < 2


@pytest.mark.parametrize(
    "does", ["echo connect failed; sleep 30", "echo '1s pub total=5 rate=1/sec'; sleep 30"]
)
def test_one_that_tells_of_no_messages_is_an_error_and_is_ended(a_program: Path, does: str) -> None:
    write(a_program, does)
    with pytest.raises(BackendError, match="told of no messages"):
        simulator_emqtt.paced(SETTINGS)


def test_it_is_asked_for_the_same_load_as_the_others() -> None:
    told = simulator_emqtt.command(SETTINGS)
    pairs = dict(zip(told[2::2], told[3::2], strict=True))
    assert told[:2] == ["emqtt_bench", "pub"]
    assert (pairs["-c"], pairs["-I"], pairs["-q"], pairs["-V"], pairs["-p"]) == ("10", "20", "1", "4", "1")


def test_a_process_that_is_gone_has_no_figure_and_needs_no_end() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait(5)
    assert simulator_emqtt._cpu_seconds(gone.pid) == {}
    simulator_emqtt._end(gone)
