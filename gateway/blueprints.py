"""From the models file to models: all that can be loaded before a Triton answers."""

import hashlib
import math
from dataclasses import dataclass, replace
from functools import partial

from gateway import __version__
from gateway.engine import Engine
from gateway.generation import Lora
from gateway.models import Model, SamplingDefaults
from gateway.output.tools.parsers import PARSERS, default_parser_for
from gateway.output.vocabulary import Vocabulary
from gateway.prompt.renderer import PromptRenderer
from gateway.prompt.template import template_for
from gateway.prompt.tokenizer import Tokenizer
from gateway.prompt.widths import widths_of
from gateway.settings import (
    AdmissionSettings,
    ModelSettings,
    Settings,
    SettingsError,
    TritonSettings,
)
from gateway.telemetry.lengths import LengthTrace
from gateway.telemetry.metrics import NO_CAPACITY
from gateway.traffic.admission import Admission
from gateway.traffic.caller import Limits
from gateway.traffic.gate import Capacity, Weights
from gateway.triton.channel import Channel, TransportName
from gateway.triton.deployment import ServedWith
from gateway.triton.discovery import Discovery, Filed, Listed, Resolved
from gateway.triton.lora import check_adapter
from gateway.triton.replicas import Replicas
from gateway.triton.server import ServedModel
from gateway.triton.tls import Tls

NOT_SERVING = frozenset(("down", "draining", "drained", "ejected"))


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A model without its engine: all that can be loaded before Triton answers."""

    settings: ModelSettings
    tokenizer: Tokenizer
    renderer: PromptRenderer
    vocabulary: Vocabulary
    tool_parser: str
    timeout_s: float | None
    first_token_timeout_s: float
    token_timeout_s: float
    stall_timeout_s: float
    transport: TransportName
    tls: Tls | None
    lengths: LengthTrace | None
    admission: Admission | None
    num_processes: int

    @property
    def names(self) -> tuple[str, ...]:
        settings = self.settings
        return (settings.id, *settings.aliases, *(adapter.id for adapter in settings.lora))

    @property
    def served_with(self) -> ServedWith:
        """What the engine needs to know of the model."""
        tokenizer = self.tokenizer
        return ServedWith(tokenizer.vocab_size, self.settings.max_model_len, tokenizer)

    def channel(self, address: str) -> Channel:
        """Return a way to a Triton of this model; to be called where it is used, and closed."""
        name = self.settings.triton.dns or ""
        host = name.rpartition(":")[0].strip("[]")
        return Channel(address, self.timeout_s, self.transport, self.tls, host)

    def discovery(self) -> Discovery:
        """Return what knows where this model's Tritons are."""
        triton = self.settings.triton
        if triton.addresses_file:
            return Filed(triton.addresses_file)
        if triton.dns:
            return Resolved(triton.dns)
        return Listed(triton.addresses or (triton.address,))

    def model(self, engine: Engine) -> Model:
        """Return the model with its engine."""
        settings = self.settings
        if self.admission and isinstance(engine, ServedModel):
            self.admission.capacity = partial(self._capacity, engine.replicas)
        return Model(
            id=settings.id,
            engine=engine,
            tokenizer=self.tokenizer,
            renderer=self.renderer,
            vocabulary=self.vocabulary,
            tool_parser=self.tool_parser,
            created=int((settings.tokenizer / "tokenizer.json").stat().st_mtime),
            fingerprint=fingerprint(__version__, settings.id, engine.version),
            lengths=self.lengths,
            owned_by=settings.owned_by,
            aliases=settings.aliases,
            defaults=SamplingDefaults(**settings.defaults.model_dump()),
            limits=Limits(**settings.limits.model_dump()),
            admission=self.admission,
        )

    def _capacity(self, replicas: Replicas) -> Capacity:
        """Return what this process may have run at once on the replicas that serve now."""
        given = self.settings.admission or AdmissionSettings()
        views = [view for view in replicas.views() if view.state not in NOT_SERVING]
        tokens = [view.kv_capacity_tokens or given.kv_tokens or math.inf for view in views]
        requests = len(views) * (given.requests or math.inf) if views else 0
        return Capacity(
            requests=max(1, requests / self.num_processes),
            tokens=sum(tokens) / self.num_processes if tokens else math.inf,
        )

    def models(self, engine: Engine) -> list[Model]:
        """Return the model with its engine, and one for each of its LoRA adapters."""
        base = self.model(engine)
        adapters = [
            replace(
                base,
                id=adapter.id,
                aliases=(),
                parent=base.id,
                fingerprint=fingerprint(base.fingerprint, adapter.id, str(adapter.task_id)),
                lora=Lora(adapter.task_id, str(adapter.path)),
            )
            for adapter in self.settings.lora
        ]
        return [base, *adapters]


def fingerprint(*parts: str) -> str:
    """Return a `system_fingerprint` that changes when gateway, model or engine do."""
    return "fp_" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


def load_blueprint(settings: ModelSettings, shared: Settings) -> Blueprint:
    """Load a model's tokenizer and template. Raises SettingsError when they cannot be used."""
    try:
        tokenizer = Tokenizer.load(settings.tokenizer)
        template = template_for(tokenizer, settings.template, defaults=settings.template_kwargs)
        vocabulary = Vocabulary.from_backend(tokenizer.backend)
        lengths = LengthTrace(shared.lengths_file) if shared.lengths_file else None
        for adapter in settings.lora:
            check_adapter(adapter.path)
        tls = _tls(settings.triton)
    except (OSError, ValueError) as error:
        raise SettingsError(f"model {settings.id!r}: {error}") from error
    given = settings.timeouts
    return Blueprint(
        settings=settings,
        tokenizer=tokenizer,
        renderer=PromptRenderer(
            tokenizer,
            template,
            cache_bytes=shared.prompt_cache_bytes,
            widths=widths_of(tokenizer.backend, vocabulary.tokens),
        ),
        vocabulary=vocabulary,
        tool_parser=_tool_parser(settings, template.name),
        timeout_s=_nearer(shared.request_timeout_s, given.request_s) or None,
        first_token_timeout_s=_nearer(shared.first_token_timeout_s, given.first_token_s),
        token_timeout_s=_nearer(shared.token_timeout_s, given.token_s),
        stall_timeout_s=shared.stall_timeout_s,
        transport=shared.transport,
        tls=tls,
        lengths=lengths,
        admission=_admission(settings),
        num_processes=shared.workers,
    )


def _nearer(*timeouts_s: float) -> float:
    """Return the least of those that are set, 0 where none is."""
    return min((one for one in timeouts_s if one), default=0.0)


def _admission(settings: ModelSettings) -> Admission | None:
    given = settings.admission
    if given is None:
        return None
    weights = Weights(given.prompt_weight, given.output_weight, given.cached_weight)
    count = NO_CAPACITY.labels(settings.id).inc
    return Admission(given.queue, given.queue_timeout_s, weights, count)


def _tls(settings: TritonSettings) -> Tls | None:
    if settings.tls is None:
        return None
    tls = Tls(settings.tls.ca, settings.tls.cert, settings.tls.key)
    tls.check()
    return tls


def _tool_parser(settings: ModelSettings, template_name: str) -> str:
    name = settings.tool_parser or default_parser_for(template_name)
    if name not in PARSERS:
        known = ", ".join(sorted(PARSERS))
        raise SettingsError(f"model {settings.id!r}: tool_parser {name!r} is none of {known}")
    return name
