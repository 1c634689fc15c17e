"""What a deployment decides: its Triton model config, read once."""

import json
from dataclasses import dataclass
from pathlib import Path

from backend.contract import Limits
from backend.engine import Engine

ENGINES = ("openvino", "simulated", "llm_api", "vllm")


class Misconfigured(Exception):
    """The model config cannot be served; the message names the parameter."""


@dataclass(frozen=True)
class Deployment:
    """The settings of one model; `folder` is the model's own, above its version.

    `vocab_size` is 0 where the engine finds it in the model. `num_senders` threads send responses
    beside the engine's; where it is 0, that one sends.
    """

    folder: Path
    engine: str
    limits: Limits
    max_num_seqs: int
    max_queue_size: int
    reuses_kv_cache: bool
    vocab_size: int
    num_senders: int

    @classmethod
    def read(cls, folder: Path, model_config: str) -> "Deployment":
        """The deployment in a model config as Triton hands it over (JSON).

        Raises Misconfigured.
        """
        config = json.loads(model_config)
        parameters = {
            name: value["string_value"]
            for name, value in config["parameters"].items()
            if value["string_value"] != f"${{{name}}}"
        }
        queue = config.get("dynamic_batching", {}).get("default_queue_policy", {})
        return cls(
            folder=folder,
            engine=parameters.get("engine", ""),
            limits=Limits(
                max_seq_len=_max_seq_len(parameters),
                exclude_input=_flag(parameters, "exclude_input_in_output", False),
                has_adapters=any(tensor["name"] == "lora_path" for tensor in config["input"]),
            ),
            max_num_seqs=config["max_batch_size"],
            max_queue_size=int(queue.get("max_queue_size", 0)),
            reuses_kv_cache=_flag(parameters, "enable_kv_cache_reuse", True),
            vocab_size=_count(parameters, "vocab_size"),
            num_senders=_count(parameters, "num_senders"),
        )

    def load_engine(self) -> Engine:
        """The engine, ready to take work. Raises Misconfigured where there is none by that name."""
        version = self.folder / "1"
        if self.engine == "openvino":
            from backend.engines.openvino.engine import OpenVinoEngine

            engine = OpenVinoEngine(
                version / "model.gguf",
                max_num_seqs=self.max_num_seqs,
                reuses_kv_cache=self.reuses_kv_cache,
            )
            engine.expect_guides()
            return engine
        if self.engine == "simulated":
            from backend.engines.simulated.simulator import Simulator

            return Simulator.load(
                version / "simulator.json",
                tokenizer=self.folder / "tokenizer",
                max_num_seqs=self.max_num_seqs,
            )
        if self.engine == "llm_api":
            from backend.engines.llm_api.engine import LlmApiEngine

            return LlmApiEngine.load(
                version / "llm.yaml", max_num_seqs=self.max_num_seqs, vocab_size=self.vocab_size
            )
        if self.engine == "vllm":
            from backend.engines.vllm.engine import VllmEngine

            return VllmEngine.load(
                version / "vllm.json",
                max_num_seqs=self.max_num_seqs,
                max_seq_len=self.limits.max_seq_len,
                reuses_kv_cache=self.reuses_kv_cache,
            )
        raise Misconfigured(f"parameter 'engine' is {self.engine!r}: none of {', '.join(ENGINES)}")


def _max_seq_len(parameters: dict[str, str]) -> int:
    text = parameters.get("max_seq_len", "")
    if not text.isdecimal() or int(text) < 2:
        raise Misconfigured(f"parameter 'max_seq_len' is {text!r}: not a number of tokens")
    return int(text)


def _count(parameters: dict[str, str], name: str) -> int:
    text = parameters.get(name, "0")
    if not text.isdecimal():
        raise Misconfigured(f"parameter '{name}' is {text!r}: not a number")
    return int(text)


def _flag(parameters: dict[str, str], name: str, default: bool) -> bool:
    text = parameters.get(name, str(default)).lower()
    if text not in ("true", "false"):
        raise Misconfigured(f"parameter '{name}' is {text!r}: neither true nor false")
    return text == "true"
