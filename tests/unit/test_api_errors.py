"""What an API answers to what it does not understand: with its page, where it has one."""

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from analytics.api_errors import tell_errors

pytestmark = pytest.mark.anyio


class Asked(BaseModel):
    count: int


@pytest.mark.parametrize(
    ("openapi_url", "where"),
    [("/openapi.json", "/docs of this API"), (None, "as the stages of this version")],
)
async def test_where_to_look_is_told_only_where_there_is_something(
    openapi_url: str | None, where: str
) -> None:
    app = FastAPI(openapi_url=openapi_url)
    tell_errors(app)

    @app.post("/things")
    async def things(asked: Asked) -> int:
        return asked.count

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        good = await client.post("/things", json={"count": 3})
        assert (good.status_code, good.json()) == (200, 3)
        unfit = await client.post("/things", json={"count": "a secret"})
        missing = await client.get("/nowhere")
        other = await client.get("/things")
    assert (unfit.status_code, missing.status_code, other.status_code) == (422, 404, 405)
    assert unfit.json()["error"].startswith("body.count: input should be a valid integer")
    assert "a secret" not in unfit.text
    assert other.headers["allow"] == "POST"
    assert all(where in one.json()["fix"] for one in (unfit, missing, other))
