"""Deploys the template through CloudFormation: the handler's zip to a bucket, a change set, its execution. Blocking."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from contracts.errors import Terminal, Transient

from .package import build_zip, key_of
from .session import ClientFactory, translated
from .template import Template

POLL_SECONDS: Final = 1.0
DEADLINE_SECONDS: Final = 900.0
"""A first deployment takes some three minutes on AWS; the delivery stream is the slowest."""

_NOTHING: Final = ("didn't contain changes", "No updates are to be performed", "no changes")
_CAPABILITIES: Final = ["CAPABILITY_NAMED_IAM"]


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a change set: Add, Modify or Remove; `replaced` says that a new resource takes the old one's place."""

    action: str
    logical_id: str
    kind: str
    replaced: bool = False


class Deployment:
    """One stack, named as its prefix.

    Args:
        factory: clients of the account (or of an emulator that has CloudFormation).
        parameters: of the template, besides those that are filled in here.
        poll: seconds between two looks.

    Raises UnknownName for a parameter that the template does not have.
    """

    def __init__(
        self,
        factory: ClientFactory,
        *,
        prefix: str,
        parameters: Mapping[str, Any] | None = None,
        poll: float = POLL_SECONDS,
    ) -> None:
        self._factory = factory
        self._stack = prefix
        self._poll = poll
        self._zip = build_zip()
        self._given = dict(parameters or {})
        Template(self._given)  # a wrong name is told before anything is asked

    @translated
    def preview(self) -> list[Change]:
        """What would change. Nothing is left behind in the account. Raises Transient, Terminal."""
        with self._change_set() as (_, changes):
            return changes

    @translated
    def execute(self, tell: Callable[[str], None]) -> list[Change]:
        """Make it so; what changed. `tell` gets a line for each step. Raises Transient, Terminal with the reasons."""
        self._upload(tell)
        with self._change_set() as (name, changes):
            if not changes:
                tell(f"stack {self._stack}: nothing to change")
                return []
            cloudformation = self._factory.client("cloudformation")
            began = time.time()
            cloudformation.execute_change_set(StackName=self._stack, ChangeSetName=name)
            self._wait(tell, since=began)
        return changes

    def _account(self) -> str:
        return str(self._factory.client("sts").get_caller_identity()["Account"])

    def _suffix(self) -> str:
        return f"-{self._account()}-{self._factory.region}"

    def _parameters(self) -> list[dict[str, str]]:
        suffix = self._suffix()
        filled = {
            "Prefix": self._stack,
            "BucketSuffix": suffix,
            "CodeBucket": f"{self._stack}-artifacts{suffix}",
            "CodeKey": key_of(self._zip),
            **self._given,
        }
        template = Template(filled)
        return [
            {"ParameterKey": name, "ParameterValue": str(value)}
            for name, value in template.parameters.items()
        ]

    def _upload(self, tell: Callable[[str], None]) -> None:
        """The zip, to a bucket that belongs to no stack: CloudFormation reads it while it makes the stack."""
        s3, bucket = self._factory.client("s3"), f"{self._stack}-artifacts{self._suffix()}"
        region = self._factory.region
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            s3.create_bucket(Bucket=bucket, **where)
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise
        s3.put_object(Bucket=bucket, Key=key_of(self._zip), Body=self._zip)
        tell(f"handler: {len(self._zip)} bytes to s3://{bucket}/{key_of(self._zip)}")

    @contextmanager
    def _change_set(self) -> Iterator[tuple[str, list[Change]]]:
        """A change set, removed again at the end, with the empty stack that a first one makes."""
        cloudformation = self._factory.client("cloudformation")
        name, is_new = f"thingstorm-{uuid.uuid4().hex[:12]}", self._status() in ("", "REVIEW_IN_PROGRESS")
        cloudformation.create_change_set(
            StackName=self._stack,
            ChangeSetName=name,
            ChangeSetType="CREATE" if is_new else "UPDATE",
            TemplateBody=Template({}).text,
            Parameters=self._parameters(),
            Capabilities=_CAPABILITIES,
        )
        try:
            yield name, self._changes(name)
        finally:
            if self._status() == "REVIEW_IN_PROGRESS":
                cloudformation.delete_stack(StackName=self._stack)
            else:
                self._forget(name)

    def _forget(self, name: str) -> None:
        """One that was executed is gone already."""
        try:
            self._factory.client("cloudformation").delete_change_set(
                StackName=self._stack, ChangeSetName=name
            )
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("ChangeSetNotFound", "InvalidChangeSetStatus"):
                raise

    def _changes(self, name: str) -> list[Change]:
        cloudformation = self._factory.client("cloudformation")
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            told = cloudformation.describe_change_set(StackName=self._stack, ChangeSetName=name)
            if told["Status"] == "CREATE_COMPLETE":
                return self._all_changes(name)
            if told["Status"] == "FAILED":
                reason = str(told.get("StatusReason", ""))
                if any(words in reason for words in _NOTHING):
                    return []
                raise Terminal(
                    f"CloudFormation: the change of stack {self._stack} is refused: {reason}",
                    fix="correct what it names; `cfn-lint pipeline/aws/template.yaml` finds most of it",
                )
            time.sleep(self._poll)
        raise Transient("CloudFormation: the change set is not ready", fix="try again")

    def _all_changes(self, name: str) -> list[Change]:
        pages = self._factory.client("cloudformation").get_paginator("describe_change_set")
        found = [
            one["ResourceChange"]
            for page in pages.paginate(StackName=self._stack, ChangeSetName=name)
            for one in page.get("Changes", [])
        ]
        return [
            Change(
                one["Action"],
                one["LogicalResourceId"],
                one["ResourceType"],
                replaced=one.get("Replacement") == "True",
            )
            for one in found
        ]

    def _status(self) -> str:
        try:
            told = self._factory.client("cloudformation").describe_stacks(StackName=self._stack)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            return ""
        return str(told["Stacks"][0]["StackStatus"])

    def _wait(self, tell: Callable[[str], None], *, since: float) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            status = self._status()
            if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
                tell(f"stack {self._stack}: {status}, {time.time() - since:.0f} s")
                return
            if status.endswith(("FAILED", "ROLLBACK_COMPLETE")):
                raise Terminal(
                    f"CloudFormation: stack {self._stack} ended in {status}: {self._reasons()}",
                    fix="correct what it names and deploy again (a stack in ROLLBACK_COMPLETE must be deleted first)",
                )
            time.sleep(self._poll)
        raise Transient(
            f"CloudFormation: stack {self._stack} is not ready after {DEADLINE_SECONDS:.0f} s",
            fix="look at it in the console",
        )

    def _reasons(self) -> str:
        events = self._factory.client("cloudformation").describe_stack_events(StackName=self._stack)[
            "StackEvents"
        ]
        failed = [one for one in events if one["ResourceStatus"].endswith("FAILED")]
        return "; ".join(
            f"{one['LogicalResourceId']}: {one.get('ResourceStatusReason', '')}" for one in failed[-5:]
        )


def whole_template(prefix: str) -> list[Change]:
    """What a first deployment would make, without asking anybody."""
    return [
        Change("Add", one.logical_id, one.kind) for one in Template({"Prefix": prefix}).resources.values()
    ]
