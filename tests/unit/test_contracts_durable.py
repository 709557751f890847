"""Messages as bytes, and the journal that keeps them: nothing lost, nothing invented, over any restart."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sizes import size

from contracts.envelope import decode, encode
from contracts.errors import ConfigError
from contracts.journal import Journal, JournalFault
from contracts.messages import Message

MESSAGES = st.builds(
    Message,
    message_id=st.text(max_size=30),
    client_id=st.text(max_size=130),
    principal=st.text(max_size=20),
    topic=st.text(max_size=260),
    payload=st.binary(max_size=400),
    qos=st.integers(0, 1),
    retain=st.booleans(),
    received_at=st.integers(0, 2**63 - 1),
    source_ip=st.text(max_size=40),
)


@given(st.lists(MESSAGES, max_size=8))
def test_messages_survive_the_way_joined_or_alone(messages: list[Message]) -> None:
    assert list(decode(b"".join(map(encode, messages)))) == messages


@given(MESSAGES, st.data())
def test_cut_bytes_are_refused_with_a_fix(message: Message, data: st.DataObject) -> None:
    whole = encode(message)
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    with pytest.raises(ConfigError) as caught:
        list(decode(cut))
    assert "same version" in caught.value.fix


@given(st.binary(min_size=1, max_size=200))
def test_strange_bytes_end_in_our_error_or_in_messages(data: bytes) -> None:
    try:
        assert all(isinstance(message, Message) for message in decode(data))
    except ConfigError as error:
        assert error.fix


class JournalMachine(RuleBasedStateMachine):
    """A journal against a list, reopened at any moment."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "deep" / "j"
        self.journal = Journal(self.path)
        self.model: dict[int, bytes] = {}
        self.last = 0

    @rule(bodies=st.lists(st.binary(max_size=50), max_size=5))
    def append(self, bodies: list[bytes]) -> None:
        self.journal.append(bodies)
        known = {entry.number for entry in self.journal.read(limit=1000)} - set(self.model)
        assert all(number > self.last for number in known), "numbers are never used twice"
        self.model.update(zip(sorted(known), bodies, strict=True))
        self.last = max([self.last, *known])

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        first, last = sorted(data.draw(st.tuples(*[st.sampled_from(sorted(self.model))] * 2)))
        self.journal.forget(first, last)
        self.model = {number: body for number, body in self.model.items() if not first <= number <= last}

    @rule(count=st.integers(0, 7))
    def drop(self, count: int) -> None:
        self.journal.drop(count)
        self.model = dict(sorted(self.model.items())[count:])

    @rule()
    def reopen(self) -> None:
        self.journal.close()
        self.journal = Journal(self.path)

    @invariant()
    def agrees(self) -> None:
        assert len(self.journal) == len(self.model)
        assert [tuple(entry) for entry in self.journal.read(limit=1000)] == sorted(self.model.items())

    def teardown(self) -> None:
        self.journal.close()
        self.folder.cleanup()


JournalMachine.TestCase.settings = settings(
    max_examples=size(25, full=500), stateful_step_count=20, deadline=None
)
test_a_journal_agrees_with_a_list = JournalMachine.TestCase


def test_what_was_appended_survives_a_kill(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from contracts.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "journal.append([b'a', b'b'])\n"
        "journal.append([b'c'])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "j")], check=False, timeout=30)
    assert killed.returncode == -signal.SIGKILL
    journal = Journal(tmp_path / "j")
    assert [entry.body for entry in journal.read(limit=10)] == [b"a", b"b", b"c"]
    journal.close()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(JournalFault, match="cannot keep messages") as caught:
        Journal(tmp_path / "file" / "j")
    assert "write there" in caught.value.fix


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")  # noqa: PTH110
def test_a_full_disk_keeps_nothing_of_the_call(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.append([b"kept"])
    journal._database.execute("PRAGMA max_page_count = 4")
    with pytest.raises(JournalFault, match="full"):
        journal.append([b"x" * 100_000])
    assert (len(journal), [entry.body for entry in journal.read(limit=9)]) == (1, [b"kept"])
    journal.close()
