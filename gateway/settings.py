"""The only reader of the environment and of the models file. Everything else is handed settings."""

import re
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/\s?#]+")
HOST = re.compile(r"\*|[^/\s:\[\]]+|[0-9a-f:.]+")
ADDRESS = re.compile(r"(?:[^\s\[\]:/@]+|\[[\da-fA-F:.]+\]):(\d{1,5})", re.ASCII)


class SettingsError(Exception):
    """A setting or the models file is wrong; the message says which and how."""


class Settings(BaseSettings):
    """How the gateway runs. Each comes from GATEWAY_NAME in the environment, or an option."""

    model_config = SettingsConfigDict(env_prefix="GATEWAY_", frozen=True)

    # Where it listens
    host: str = Field(
        default="127.0.0.1", description="Address to bind; loopback unless told otherwise."
    )
    port: int = Field(8080, ge=0, lt=65536, description="HTTP port; 0 takes a free one.")

    tls_cert: Path | None = Field(None, description="PEM certificate chain for HTTP.")
    tls_key: Path | None = Field(None, description="PEM private key of that certificate.")

    grpc_host: str = Field(default="127.0.0.1", description="Address to bind for gRPC.")
    grpc_port: int = Field(8081, ge=0, lt=65536, description="gRPC port; 0 takes a free one.")
    grpc_server: Literal["http2", "grpc"] = Field(
        default="http2", description="Answers gRPC: our own HTTP/2 server, or grpc.aio."
    )
    grpc_tls_cert: Path | None = Field(None, description="PEM certificate chain for gRPC.")
    grpc_tls_key: Path | None = Field(None, description="PEM private key of that certificate.")
    grpc_tls_client_ca: Path | None = Field(
        None, description="PEM certificates; callers of gRPC must have one that they signed."
    )
    grpc_max_connections: int = Field(
        1024, gt=0, description="gRPC connections at once, of each process."
    )

    admin_host: str = Field(
        default="127.0.0.1",
        description="Address to bind for `/admin`, which has a port of its own.",
    )
    admin_port: int = Field(
        8082,
        ge=0,
        lt=65532,
        description="Port of `/admin`, the next ones of further workers; 0: none.",
    )

    # Who gets in
    keys_file: Path | None = Field(
        None, description="YAML file of keys, which `gateway keys` writes; callers need one then."
    )
    keys_secret_file: Path | None = Field(
        None, description="What the hashes in it are keyed with; by default KEYS_FILE.secret."
    )
    jwt_keys: str = Field("", description="File or URL of a JWKS; tokens it signed are keys too.")
    jwt_audience: str = Field("", description="What `aud` of a token must name, if set.")
    jwt_issuer: str = Field("", description="What `iss` of a token must be, if set.")
    open: bool = Field(
        False, description="Serve without keys, also on addresses that others reach."
    )
    metrics_without_key: bool = Field(
        False, description="Show /metrics to everybody; otherwise it needs the key of an admin."
    )
    grpc_reflection: Literal["auto", "on", "off"] = Field(
        "auto", description="Whether gRPC tells its methods; auto is on loopback alone."
    )

    # How much they may ask for
    redis: str = Field(
        "",
        repr=False,
        description="URL of a Redis through which gateways share limits, as in redis://HOST:6379/0.",
    )
    redis_timeout_s: float = Field(
        0.25, gt=0, description="Seconds that Redis may take until it counts as gone."
    )
    redis_policy: Literal["closed", "open", "local"] = Field(
        "local",
        description="While it is gone: closed refuses, open admits, local keeps a share of limits.",
    )
    usage: str = Field(
        "auto",
        repr=False,
        description="Where usage is kept: auto (SQLite, if there are keys), off, sqlite, or a "
        "postgresql:// URL.",
    )
    state_dir: Path = Field(
        Path("~/.local/state/triton-openai-gateway"),
        description="Folder of what is kept: usage, and what of it is on its way to PostgreSQL.",
    )

    # How many serve
    workers: int = Field(1, ge=1, description="Processes of `gateway serve` that share its ports.")

    wait_s: float = Field(
        0, ge=0, description="Seconds after which to give up where no model serves; 0 is never."
    )

    # What it accepts
    max_body_bytes: int = Field(8 * 2**20, gt=0, description="Largest request body.")
    body_timeout_s: float = Field(30, gt=0, description="Seconds a request body may take.")
    max_header_bytes: int = Field(
        65536, ge=1024, description="Bytes of a request's line and headers."
    )
    max_headers: int = Field(128, ge=8, description="Headers of a request.")
    max_target_bytes: int = Field(8192, ge=128, description="Bytes of a request's path and query.")
    header_timeout_s: float = Field(
        10, gt=0, description="Seconds a request's line and headers may take."
    )
    idle_timeout_s: int = Field(
        75, ge=1, description="Seconds an HTTP connection may be idle between requests."
    )
    max_connections: int = Field(
        8192, ge=1, description="Open HTTP connections of a process; those beyond are told 503."
    )
    max_connections_per_address: int = Field(
        0, ge=0, description="Of these, from one address; 0 is as many as there may be."
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses and networks of proxies that are believed for whom they ask, "
        "separated by commas.",
    )
    proxy_header: Literal["x-forwarded", "forwarded"] = Field(
        default="x-forwarded",
        description="What they write: X-Forwarded-For and -Proto, or Forwarded (RFC 7239).",
    )
    cors_origins: str = Field(
        default="",
        description="Origins whose pages may use this server, separated by commas; * is any.",
    )
    allowed_hosts: str = Field(
        default="",
        description="Names in Host to answer to, separated by commas; * is any.",
    )
    strict: bool = Field(False, description="Refuse unknown request fields instead of ignoring.")

    # How it speaks to Triton
    transport: Literal["http2", "grpc"] = Field(
        default="http2", description="Carries Triton's streams: our own HTTP/2 client, or grpc.aio."
    )

    first_token_timeout_s: float = Field(
        default=0,
        ge=0,
        description="Seconds a stream's first token may take, queue included; 0 is no limit.",
    )
    token_timeout_s: float = Field(
        default=0, ge=0, description="Seconds between tokens of a stream; 0 is no limit."
    )
    stall_timeout_s: float = Field(
        default=60,
        ge=0,
        description="Seconds that begun streams may stand still, and a canary with them, until the "
        "engine is taken for hung; 0 is never.",
    )

    # How it streams and stops
    request_timeout_s: float = Field(
        600, ge=0, description="Seconds a generation may take; 0 is no limit."
    )
    keep_alive_s: float = Field(15, ge=0, description="Silence between stream comments; 0 is none.")
    send_timeout_s: float = Field(
        60, gt=0, description="Seconds a client may leave its answer unread."
    )
    drain_s: float = Field(30, ge=0, description="Seconds that running answers get at shutdown.")
    prompt_cache_bytes: int = Field(64 * 2**20, ge=0, description="Token ids kept, per model.")

    # What it says
    lengths_file: Path | None = Field(
        default=None, description="Gets a JSON line of token counts per request."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level of log lines."
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="console or json."
    )

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, given: str) -> str:
        for origin in listed(given):
            if not ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin: write https://HOST, with :PORT if it has one, or *"
                )
        return given

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, given: str) -> str:
        for host in listed(given):
            if not HOST.fullmatch(host):
                raise ValueError(f"{host!r} is no host's name: write it without port or scheme")
        return given

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, given: str) -> str:
        for network in listed(given):
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"{error}: write 10.0.0.7, or 10.0.0.0/8") from error
        return given


def listed(given: str) -> tuple[str, ...]:
    """Return what a setting lists, in small letters."""
    return tuple(item for part in given.split(",") if (item := part.strip().lower()))


class ModelFileModel(BaseModel):
    """Every key is known; a misspelt one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


AnySettings = TypeVar("AnySettings", bound=ModelFileModel)


class TlsSettings(ModelFileModel):
    """TLS to Triton. PEM files, relative to this file."""

    ca: Path | None = Field(
        default=None, description="Certificates to trust; default: the system's authorities."
    )
    cert: Path | None = Field(default=None, description="Our own certificate, if Triton asks.")
    key: Path | None = Field(default=None, description="The private key of that certificate.")


def check_address(address: str) -> str:
    """Return an address as it is. Raises ValueError for one that is not HOST:PORT."""
    match = ADDRESS.fullmatch(address)
    if not match or not 0 < int(match[1]) < 65536:
        raise ValueError(f"{address!r} is not HOST:PORT, as in 127.0.0.1:8001 or [::1]:8001")
    return address


MAX_ADDRESSES = 256
Address = Annotated[str, AfterValidator(check_address)]


class TritonSettings(ModelFileModel):
    """Where a model is served from."""

    address: Address = Field(
        default="127.0.0.1:8001", description="HOST:PORT of Triton's gRPC endpoint."
    )
    addresses: tuple[Address, ...] = Field(
        default=(), description="Those of several, alike, among which requests are spread."
    )
    dns: Address | None = Field(
        default=None, description="NAME:PORT; all addresses of the name, looked up again and again."
    )
    addresses_file: Path | None = Field(
        default=None, description="A file of addresses, one a line, read again and again."
    )
    policy: Literal["least_work", "round_robin", "prefix"] = Field(
        default="least_work", description="How one of several is chosen."
    )
    metrics_port: int | None = Field(
        default=None, gt=0, lt=65536, description="Where each tells its metrics, to be read."
    )
    model: str = Field(default="tensorrt_llm", description="The Triton model's name.")
    tls: TlsSettings | None = Field(
        default=None, description="How to encrypt; not at all if absent."
    )

    @model_validator(mode="after")
    def _is_in_one_place(self) -> "TritonSettings":
        names = ("address", "addresses", "dns", "addresses_file")
        given = [name for name in names if name in self.model_fields_set]
        if len(given) > 1:
            raise ValueError(f"give one of {' and '.join(given)}: they say the same")
        if "addresses" in given and not self.addresses:
            raise ValueError("addresses names none")
        if len(set(self.addresses)) < len(self.addresses):
            raise ValueError("addresses names one twice")
        if len(self.addresses) > MAX_ADDRESSES:
            raise ValueError(f"addresses names more than {MAX_ADDRESSES}")
        return self


class SamplingSettings(ModelFileModel):
    """What a request that does not say gets."""

    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    repetition_penalty: float = Field(default=1.0, gt=0)


class LoraSettings(ModelFileModel):
    """A LoRA adapter that clients can name as a model."""

    id: str
    task_id: int = Field(ge=1, lt=2**64, description="Its number in the engine's cache.")
    path: Path = Field(
        description="Folder with model.lora_weights.npy and model.lora_config.npy, as "
        "TensorRT-LLM's converters write them, relative to this file."
    )


class LimitSettings(ModelFileModel):
    """How much may be asked of a model, by all callers together."""

    requests_per_minute: int | None = Field(default=None, ge=0)
    tokens_per_minute: int | None = Field(default=None, ge=0)
    concurrent_requests: int | None = Field(default=None, ge=0)


class AdmissionSettings(ModelFileModel):
    """How much one replica serves at once, and who waits for it."""

    requests: int | None = Field(default=None, gt=0, description="At once, of one replica.")
    kv_tokens: int | None = Field(
        default=None,
        gt=0,
        description="Tokens in its KV cache, where its metrics are not read (metrics_port).",
    )
    queue: int = Field(default=256, ge=0, description="Requests that may wait.")
    queue_timeout_s: float = Field(default=30, ge=0, description="How long one may wait.")
    prompt_weight: float = Field(default=1.0, ge=0, description="What a token counts for its key:")
    output_weight: float = Field(default=2.0, ge=0, description="of a prompt, of an answer,")
    cached_weight: float = Field(default=0.1, ge=0, description="of a prompt that was cached.")


class TimeoutSettings(ModelFileModel):
    """Seconds that answers may take, where that is less than for all models; 0 is as there."""

    request_s: float = Field(default=0, ge=0, description="In all.")
    first_token_s: float = Field(default=0, ge=0, description="To a stream's first token.")
    token_s: float = Field(default=0, ge=0, description="Between tokens of a stream.")


class PriceSettings(ModelFileModel):
    """What a million tokens cost, in any currency."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0, description="As input, if absent.")


class ModelSettings(ModelFileModel):
    """One model that clients can name."""

    id: str
    tokenizer: Path = Field(description="Folder with tokenizer.json, relative to this file.")
    triton: TritonSettings = TritonSettings()
    template: str | None = Field(
        default=None, description="Chat template; found out when not given."
    )
    template_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="Handed to the template below the caller's own."
    )
    tool_parser: str | None = Field(
        default=None, description="Tool call format; follows the template."
    )
    max_model_len: int | None = Field(default=None, gt=0, description="Tokens of context.")
    owned_by: str = "triton"
    aliases: tuple[str, ...] = ()
    lora: tuple[LoraSettings, ...] = ()
    defaults: SamplingSettings = SamplingSettings()
    limits: LimitSettings = LimitSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    price: PriceSettings | None = None
    admission: AdmissionSettings | None = None


class ModelsFile(ModelFileModel):
    """The models a gateway serves."""

    models: tuple[ModelSettings, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> "ModelsFile":
        seen: dict[str, str] = {}
        for place, name in _names(self.models):
            if other := seen.get(name):
                raise ValueError(
                    f"{name!r} names two models, at {other} and at {place}: clients could not "
                    "tell them apart, so call one of them otherwise"
                )
            seen[name] = place
        return self


def _names(models: tuple[ModelSettings, ...]) -> Iterator[tuple[str, str]]:
    """Yield the place and the name of everything that clients may ask for."""
    for number, model in enumerate(models):
        yield f"models.{number}.id", model.id
        for place, alias in enumerate(model.aliases):
            yield f"models.{number}.aliases.{place}", alias
        for place, adapter in enumerate(model.lora):
            yield f"models.{number}.lora.{place}.id", adapter.id


def load_models_file(path: Path) -> ModelsFile:
    """Read a YAML models file; its paths become absolute. Raises SettingsError."""
    try:
        parsed = ModelsFile.model_validate(yaml.safe_load(path.read_text()))
    except RecursionError as error:
        raise SettingsError(f"{path}: nested too deeply") from error
    except ValidationError as error:
        raise SettingsError(f"{path}: {_first_problem(error)}") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(f"{path}: {error}") from error
    folder = path.parent.resolve()
    return ModelsFile(models=tuple(_placed(model, folder) for model in parsed.models))


def _placed(model: ModelSettings, folder: Path) -> ModelSettings:
    lora = tuple(_with_paths(one, folder, "path") for one in model.lora)
    triton = model.triton
    if triton.tls:
        tls = _with_paths(triton.tls, folder, "ca", "cert", "key")
        triton = triton.model_copy(update={"tls": tls})
    triton = _with_paths(triton, folder, "addresses_file")
    placed = _with_paths(model, folder, "tokenizer")
    return placed.model_copy(update={"triton": triton, "lora": lora})


def _with_paths(settings: AnySettings, folder: Path, *names: str) -> AnySettings:
    """Return the settings with the paths of these names, where given, counted from the folder."""
    given = {name: getattr(settings, name) for name in names}
    return settings.model_copy(
        update={name: folder / path for name, path in given.items() if path is not None}
    )


def one_model(**fields: object) -> ModelSettings:
    """Return the settings of one model out of fields by name. Raises SettingsError."""
    try:
        return ModelSettings.model_validate(fields)
    except ValidationError as error:
        raise SettingsError(_first_problem(error)) from error


def name_of(tokenizer: Path) -> str:
    """Return what to call a model whose tokenizer is in this folder, unless told otherwise.

    In a repository that build-engine wrote, its gateway.yaml says so.
    """
    folder = tokenizer.resolve()
    for above in folder.parents[:2]:
        with suppress(SettingsError):
            for model in load_models_file(above / "gateway.yaml").models:
                if model.tokenizer.resolve() == folder:
                    return model.id
    return folder.name or "model"


def load_settings(**overrides: object) -> Settings:
    """Return the settings of the environment, options given by name first. Raises SettingsError."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(_first_problem(error, prefix="GATEWAY_")) from error


def _first_problem(error: ValidationError, prefix: str = "") -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    said = first["msg"].removeprefix("Value error, ")
    return f"{prefix}{where.upper() if prefix else where}: {said}" if where else said
