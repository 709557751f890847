"""A stack whose stages are processes of their own, asked over HTTP."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import anyio
import httpx
from anyio import to_thread

from contracts.clock import Clock, SystemClock
from contracts.errors import ConfigError, NotReady
from contracts.messages import ActionTaken, Evidence, Json, Nanoseconds, Verdict
from contracts.ports import Emit, Gauge, Health
from pipeline.aws.provision import provision
from pipeline.aws.session import ClientFactory
from thingstorm import __version__
from thingstorm.config import Config
from thingstorm.runtime.parts import Cloud
from thingstorm.runtime.target import Told

WAIT_SECONDS = 30.0
"""Stages that were started a moment ago are ready after some 6 s."""

TIMEOUT = httpx.Timeout(30.0, connect=2.0)


class RemoteTarget:
    """The stages at the addresses of the configuration. Opens nothing before `connect`."""

    def __init__(self, config: Config, *, emit: Emit) -> None:
        self._stages = config.stages
        self._config = config
        self._emit = emit
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT, headers={"Authorization": f"Bearer {config.stages.token}"}
        )
        self._health: dict[str, Health] = {}
        self._event = 0
        self._cloud: Cloud | None = None

    async def connect(self) -> None:
        """Wait until every stage is ready and of this version, and find the AWS resources.

        Raises NotReady (after `WAIT_SECONDS` a stage still does not answer, or says why it is not ready),
        ConfigError (another version).
        """
        await self._wait_for_stages()
        aws = self._config.aws
        factory = ClientFactory(backend=aws.backend, endpoint=aws.endpoint, region=aws.region)
        visible = self._config.pipeline.visibility_seconds
        resources = await to_thread.run_sync(
            lambda: provision(factory, prefix=aws.prefix, visibility_seconds=visible)
        )
        self._cloud = Cloud(self._config, factory, resources, SystemClock())
        events = (await self._call("GET", f"{self._stages.analytics}/model/events"))["events"]
        self._event = events[-1]["number"] if events else 0
        await self.look()

    async def _wait_for_stages(self) -> None:
        deadline = anyio.current_time() + WAIT_SECONDS
        told = False
        while True:
            try:
                return await self._check_stages()
            except NotReady as error:
                if anyio.current_time() > deadline:
                    raise
                if not told:
                    self._emit("waiting", {"what": error.what, "seconds": WAIT_SECONDS})
                told = True
                await anyio.sleep(0.5)

    async def _check_stages(self) -> None:
        for name in ("broker", "pipeline", "analytics"):
            await self._check_stage(name, getattr(self._stages, name))

    async def _check_stage(self, name: str, url: str) -> None:
        told = await self._call("GET", f"{url}/healthz")
        if told.get("version") != __version__:
            raise ConfigError(
                f"the {name} at {url} is version {told.get('version')}, this is {__version__}",
                fix="run the same image, or the same installation, for every stage",
            )
        if not told["ready"]:
            why = "; ".join(
                f"{s['name']}: {s['detail'] or s['state']}" for s in told["services"] if s["state"] != "ready"
            )
            raise NotReady(f"the {name} at {url} is not ready: {why}", fix="wait, or mend what it says")

    @property
    def cloud(self) -> Cloud:
        if self._cloud is None:
            raise NotReady("the stages were not asked yet", fix="connect first")
        return self._cloud

    @property
    def mqtt(self) -> tuple[str, int]:
        return self._config.broker.host, self._config.broker.port

    def health(self) -> Mapping[str, Health]:
        return self._health

    async def look(self) -> None:
        for url in (self._stages.broker, self._stages.pipeline, self._stages.analytics):
            told = await self._call("GET", f"{url}/healthz")
            self._health |= {service["name"]: health_from(service) for service in told["services"]}
        url = f"{self._stages.analytics}/model/events"
        for event in (await self._call("GET", url, query={"after": self._event}))["events"]:
            self._event = event["number"]
            self._emit(event["event"], event["facts"])

    async def prepare(self, device_ids: Sequence[str]) -> None:
        shut_out = (await self._call("GET", f"{self._stages.broker}/quarantined"))["device_ids"]
        for device_id in set(shut_out) & set(device_ids):
            await self._call("POST", f"{self._stages.broker}/devices/{quote(device_id, safe='')}/release")

    async def learn(self, *, start: Nanoseconds, until: Nanoseconds) -> None:
        await self._call(
            "POST", f"{self._stages.analytics}/model/learn", body={"start": start, "until": until}
        )

    async def judged_until(self) -> Nanoseconds:
        return int((await self._call("GET", f"{self._stages.analytics}/model"))["judged_until"])

    @property
    def clock(self) -> Clock:
        return SystemClock()

    async def order(self, topic: str, payload: bytes) -> None:
        body = {"topic": topic, "payload": b64encode(payload).decode(), "qos": 1, "retain": True}
        await self._call("POST", f"{self._stages.broker}/publish", body=body)

    def fault(self, kind: str, parameters: Mapping[str, Any], on: bool) -> None:  # noqa: FBT001 - as the crew calls it
        _ = parameters, on
        raise ConfigError(
            f"fault.{kind} cannot be played against stages that run elsewhere",
            fix="run the scenario without --attach, in a stack of its own",
        )

    async def told(self, since: Nanoseconds) -> Told:
        told = await self._call("GET", f"{self._stages.analytics}/model/record", query={"since": since})
        return Told(
            verdicts=tuple(map(_verdict, told["verdicts"])),
            actions=tuple(ActionTaken(**action) for action in told["actions"]),
            data_p50_ms=told["data_p50_ms"],
            data_p95_ms=told["data_p95_ms"],
        )

    async def flush(self) -> None:
        await self._call("POST", f"{self._stages.delivery or self._stages.pipeline}/flush")

    async def query(self, sql: str, parameters: Mapping[str, Json] | None = None) -> list[dict[str, Any]]:
        body = {"sql": sql, "parameters": dict(parameters or {})}
        told = await self._call("POST", f"{self._stages.analytics}/query", body=body)
        return [dict(zip(told["columns"], row, strict=True)) for row in told["rows"]]

    async def pause_simulator(self, seconds: float) -> None:
        """Ask the simulator stage, if there is one, to stand aside for so long; 0 lets it go on."""
        try:
            await self._call("POST", f"{self._stages.simulator}/pause", query={"seconds": seconds})
        except NotReady:
            return  # none is running

    async def close(self) -> None:
        await self._http.aclose()

    async def _call(self, method: str, url: str, *, body: Json = None, query: Json = None) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, url, json=body, params=query)
            told: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise NotReady(
                f"{url} does not answer: {str(error) or type(error).__name__}",
                fix="start that stage (`thingstorm serve ...`), or correct its address under stages",
            ) from None
        if answer.is_success or "services" in told:
            return told
        kind = ConfigError if answer.is_client_error else NotReady
        raise kind(
            str(told.get("error", f"{url}: {answer.status_code}")), fix=str(told.get("fix", "see its log"))
        )


def health_from(told: Mapping[str, Any]) -> Health:
    """A service as `/healthz` tells it."""
    buffers = tuple(Gauge(**gauge) for gauge in told["buffers"])
    return Health(told["name"], told["state"], told["detail"], 0, buffers, told["counters"])


def _verdict(told: dict[str, Any]) -> Verdict:
    evidence = tuple(Evidence(**item) for item in told["evidence"])
    return Verdict(
        **{**told, "devices": tuple(told["devices"]), "watched": tuple(told["watched"]), "evidence": evidence}
    )
