"""Publishes a text to an SNS topic by its name, which is looked up once."""

from typing import Any

from anyio import CapacityLimiter, to_thread

from contracts.errors import Terminal

from .session import translated


class SnsPublisher:
    """Topics that are there; none is made. A name without the prefix is looked for with it too."""

    def __init__(self, *, sns: Any, prefix: str) -> None:
        self._sns = sns
        self._prefix = prefix
        self._arns: dict[str, str] = {}
        self._limiter = CapacityLimiter(2)

    async def publish(self, topic: str, text: str) -> None:
        """Raises Transient, Terminal (no such topic, or it refused)."""
        await to_thread.run_sync(self._publish, topic, text, limiter=self._limiter)

    @translated
    def _publish(self, topic: str, text: str) -> None:
        self._sns.publish(TopicArn=self._arn(topic), Message=text)

    def _arn(self, topic: str) -> str:
        if topic not in self._arns:
            pages = self._sns.get_paginator("list_topics").paginate()
            arns = {
                one["TopicArn"].rpartition(":")[2]: one["TopicArn"]
                for page in pages
                for one in page["Topics"]
            }
            found = arns.get(topic) or arns.get(f"{self._prefix}-{topic}")
            if found is None:
                raise Terminal(
                    f"there is no SNS topic {topic}", fix="create it, then wait for the next answer"
                )
            self._arns[topic] = found
        return self._arns[topic]
