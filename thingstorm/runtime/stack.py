"""The whole house in one process: the only place that knows which concrete class stands behind each port."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio import to_thread

from analytics.api import ApiServer, create_app
from analytics.sync import Sync
from analytics.verdict_loop import VerdictLoop
from analytics.view.duckdb import DuckDBView
from broker.embedded import BrokerSettings, EmbeddedBroker
from contracts.clock import SystemClock
from contracts.messages import Change, Message
from contracts.ports import Emit, Health, Service
from contracts.streams import BatchStream
from pipeline import ingest
from pipeline.aws.alerts import SnsAlerts
from pipeline.aws.emulator import Emulator
from pipeline.aws.provision import Resources, provision
from pipeline.aws.session import ClientFactory
from pipeline.changes import ChangeReader
from pipeline.delivery import DeliveryStream
from pipeline.router import Router
from pipeline.rules.engine import Engine, load_rules
from pipeline.rules.sources import RuleSource
from pipeline.worker import Worker
from thingstorm.config import Config
from thingstorm.runtime.supervisor import supervise

EVENTS_CAPACITY = 2_000
"""Events wait here for the rules. 5,000 devices make 13 metrics messages a second: minutes of room."""

CHANGES_CAPACITY = 10_000
"""Stream records wait here for the view: ten full reads of a shard."""
