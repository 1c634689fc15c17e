"""What Triton's models are, can do, and lack: of a repository, or of a Triton that runs. Anyone's;
changes nothing."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from build_engine.errors import BuildError
from build_engine.look import Engine, Finding, look_at_engine, number
from build_engine.manifest import MANIFEST
from build_engine.production import SPEC_FILE
from build_engine.verify import verify

_TIMEOUT_S = 5
_MOST_BYTES = 8 * 2**20
Config = Mapping[str, Any]


def look_at(target: str) -> list[Finding]:
    """Return what is found at an engine's folder, a repository, or the URL of a Triton's HTTP.

    Raises BuildError where there is none of these.
    """
    if target.startswith(("http://", "https://")):
        return list(_running(target.rstrip("/")))
    folder = Path(target)
    engine = Engine.read(folder)
    if engine is not None:
        return list(look_at_engine(engine))
    configs = {path.parent: read_config(path) for path in sorted(folder.glob("*/config.pbtxt"))}
    if not configs:
        raise BuildError(
            f"{target} is no engine (config.json with build_config), no model repository "
            "(*/config.pbtxt), and no address of a Triton (http://HOST:8000)"
        )
    return list(_repository(folder, configs))


def read_config(path: Path) -> Config:
    """Return a config.pbtxt as plain data. Raises BuildError where it does not parse."""
    from google.protobuf import json_format, text_format
    from tritonclient.grpc import model_config_pb2

    try:
        parsed = text_format.Parse(path.read_text("utf-8"), model_config_pb2.ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise BuildError(
            f"{path}: {error}. A variable of a template that was not filled in (${{...}}) does not "
            "parse either"
        ) from error
    content: dict[str, Any] = json_format.MessageToDict(parsed, preserving_proto_field_name=True)
    return {"name": path.parent.name, **content}


def _repository(folder: Path, configs: Mapping[Path, Config]) -> Iterator[Finding]:
    ours = (folder / MANIFEST).is_file() and (folder / SPEC_FILE).is_file()
    made = "that build-engine wrote" if ours else "that build-engine did not write"
    yield Finding("is", f"a model repository {made}: {', '.join(p.name for p in configs)}")
    for path, config in configs.items():
        if not any(child.is_dir() and child.name.isdecimal() for child in path.iterdir()):
            yield Finding("wrong", f"{path.name}: has no version folder (1/), so it does not load")
        yield from look_at_model(config, path)
    if ours:
        for check in verify(folder):
            yield from (Finding("wrong", f"{check.name}: {text}") for text in check.problems)


def _running(url: str) -> Iterator[Finding]:
    server = _get(f"{url}/v2")
    yield Finding("is", f"Triton {server.get('version')} at {url}")
    models = _get(f"{url}/v2/repository/index", method="POST")
    for model in models if isinstance(models, list) else []:
        name, state = model.get("name"), model.get("state", "not loaded")
        if state != "READY":
            yield Finding("wrong", f"{name}: {state} {model.get('reason', '')}".rstrip())
            continue
        yield from look_at_model(_get(f"{url}/v2/models/{name}/config"), None)


def _get(url: str, method: str = "GET") -> Any:
    request = urllib.request.Request(url, method=method, data=b"{}" if method == "POST" else None)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        raise BuildError(f"{url} answers {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise BuildError(
            f"{url} does not answer as Triton does ({error}): give the address of its HTTP, "
            "usually port 8000"
        ) from error


def look_at_model(config: Config, folder: Path | None) -> Iterator[Finding]:
    """Yield what a model of Triton is, can do and lacks, by its config; what an engine or a file
    that the config names says too, where it is seen from here."""
    name = config["name"]
    if "gpt_model_path" in _parameters(config):
        yield from _engine_model(config, folder)
    elif any(tensor["name"] == "sampling_param_max_tokens" for tensor in config.get("input", ())):
        yield Finding("is", f"{name}: NVIDIA's llmapi, the LLM API behind text")
        yield from _decoupling(config)
    elif "ensemble_scheduling" in config:
        yield Finding("is", f"{name}: an ensemble, text in and text out")
    else:
        yield Finding("is", f"{name}: backend {config.get('backend') or config.get('platform')}")


def _engine_model(config: Config, folder: Path | None) -> Iterator[Finding]:
    name, set_to = config["name"], _parameters(config)
    batch = config.get("max_batch_size", 0)
    yield Finding(
        "is", f"{name}: the TensorRT-LLM backend ({config.get('backend')}), batches of {batch}"
    )
    inputs = {tensor["name"] for tensor in config.get("input", ())}
    for tensor, ability in (
        ("num_return_sequences", "several answers to a request"),
        ("guided_decoding_guide", "answers bound to a grammar"),
        ("lora_task_id", "LoRA adapters, where the engine has them"),
    ):
        if tensor in inputs and not (
            tensor.startswith("guided") and "guided_decoding_backend" not in set_to
        ):
            yield Finding("can", f"{name}: {ability}")
    yield from _decoupling(config)
    if set_to.get("exclude_input_in_output", "false").lower() != "true":
        yield Finding(
            "wrong", f"{name}: exclude_input_in_output is not set, so prompts come back in answers"
        )
    if "tokens_per_block" not in set_to:
        yield Finding(
            "wrong",
            f"{name}: tokens_per_block is not told, so cached tokens are counted in blocks of 32",
        )
    yield from _against_engine(config, set_to)


def _decoupling(config: Config) -> Iterator[Finding]:
    if not config.get("model_transaction_policy", {}).get("decoupled"):
        yield Finding("wrong", f"{config['name']}: is not decoupled, so it cannot stream")
    else:
        yield Finding("can", f"{config['name']}: stream")


def _against_engine(config: Config, set_to: Mapping[str, str]) -> Iterator[Finding]:
    name, path = config["name"], Path(set_to["gpt_model_path"])
    engine = Engine.read(path)
    if engine is None:
        yield Finding("wrong", f"{name}: no engine is seen from here at gpt_model_path {path}")
        return
    yield from look_at_engine(engine)
    yield from (Finding("wrong", f"{name}: {text}") for text in _mismatches(config, set_to, engine))


def _mismatches(config: Config, set_to: Mapping[str, str], engine: Engine) -> Iterator[str]:
    yield from _sizes(config, set_to, engine)
    for wish in ("enable_kv_cache_reuse", "enable_chunked_context"):
        if set_to.get(wish, "").lower() == "true" and not engine.is_paged:
            yield f"{wish} is on, but the engine was built without use_paged_context_fmha"
    mode, drafting = set_to.get("decoding_mode", ""), engine.drafting or "nothing"
    for word in ("lookahead", "eagle"):
        if (word in mode) != (drafting.lower() == word):
            yield f"decoding_mode is {mode!r}, but the engine drafts by {drafting}"
    guide = set_to.get("xgrammar_tokenizer_info_path")
    if guide and not Path(guide).is_file():
        yield f"xgrammar_tokenizer_info_path {guide} is not there: it does not load"


def _sizes(config: Config, set_to: Mapping[str, str], engine: Engine) -> Iterator[str]:
    most, widest = (number(engine.build, name) for name in ("max_batch_size", "max_beam_width"))
    batch, beams = number(config, "max_batch_size"), set_to.get("max_beam_width", "1")
    if batch > most:
        yield f"batches of {batch}, but the engine takes {most}"
    if not beams.isdecimal() or int(beams[:9]) > widest:
        yield f"max_beam_width {beams}, but the engine has {widest}"
    logits = {t["data_type"] for t in config.get("output", ()) if t["name"] == "generation_logits"}
    if logits and engine.logits and logits != {engine.logits}:
        yield f"logits are {logits.pop()}, but the engine's {engine.logits}: asked for, they fail"


def _parameters(config: Config) -> dict[str, str]:
    """Parameters that are set: a variable of the template that is left stands for unset."""
    given = {
        key: part.get("string_value", "") for key, part in config.get("parameters", {}).items()
    }
    return {key: value for key, value in given.items() if value and not value.startswith("${")}
