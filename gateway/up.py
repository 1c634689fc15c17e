"""`gateway up`: a model repository, a real tritonserver and the gateway, as one."""

import asyncio
import json
import tempfile
from importlib.metadata import version
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from build_engine.repository import Repository, RepositoryError, RepositorySpec, build
from gateway import __version__
from gateway.app import create_app
from gateway.connect import Blueprint, connect_models, load_blueprint
from gateway.embedded import Ports, TritonFailed, TritonServer
from gateway.models import Models
from gateway.platform import PlatformUnsupported
from gateway.server import listen, serve, url_of
from gateway.settings import Settings, load_models_file
from gateway.telemetry.logs import configure_logs

READY_TIMEOUT_S = 180.0
POLL_S = 0.02


class UpFailed(Exception):
    """A part of the stack could not be brought up; the message says which, and what to do."""
