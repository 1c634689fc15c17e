"""Guides for OpenVINO GenAI: what they are in its terms, and whether they compile."""

import re
import tempfile
from pathlib import Path

import numpy as np
import openvino
import openvino_genai
from openvino import opset13 as ops

from backend.contract import Guide, Refused

# Any JSON object or array, which is what TensorRT-LLM's own JSON guide accepts.
_ANY_JSON = '{"anyOf": [{"type": "object"}, {"type": "array"}]}'
_SOURCE_POSITION = re.compile(r"^\[[\d:]+\] \S+?:\d+: ")


def structured_output(guide: Guide) -> openvino_genai.StructuredOutputConfig:
    """The guide as OpenVINO GenAI takes it."""
    config = openvino_genai.StructuredOutputConfig()
    if guide.kind == "regex":
        config.regex = guide.text
    elif guide.kind == "ebnf_grammar":
        config.grammar = guide.text
    else:
        config.json_schema = guide.text if guide.kind == "json_schema" else _ANY_JSON
    return config


class GuideCheck:
    """Compiles guides outside the pipeline that serves, which one that does not compile poisons.

    The very compiler of that pipeline runs, because it belongs to the tokenizer both share; what
    it has compiled it remembers. The model around it has no layers: every logit is zero.
    """

    def __init__(self, tokenizer: openvino_genai.Tokenizer) -> None:
        model, weights = _zero_model(len(tokenizer.get_vocab()))
        config = openvino_genai.GenerationConfig(max_new_tokens=1)
        self._pipeline = openvino_genai.LLMPipeline(model, weights, tokenizer, "CPU", config)
        self._prompt = openvino.Tensor(np.zeros((1, 1), np.int64))

    def check(self, guide: Guide) -> None:
        """Return if the guide compiles; raise Refused with the compiler's reason if not."""
        config = openvino_genai.GenerationConfig(max_new_tokens=1)
        config.structured_output_config = structured_output(guide)
        try:
            self._pipeline.generate(self._prompt, config)
        except RuntimeError as error:
            reason = _SOURCE_POSITION.sub("", str(error)).strip()
            raise Refused(f"invalid guide: {reason}") from None


def _zero_model(vocab_size: int) -> tuple[str, openvino.Tensor]:
    """A language model in OpenVINO's XML, and its weights: ids [B, S] to zero logits [B, S, V]."""
    inputs = [
        _input("input_ids", openvino.Type.i64, [-1, -1]),
        _input("attention_mask", openvino.Type.i64, [-1, -1]),
        _input("position_ids", openvino.Type.i64, [-1, -1]),
        _input("beam_idx", openvino.Type.i32, [-1]),
    ]
    row = ops.constant(np.zeros((1, vocab_size), np.float32))
    logits = ops.gather(row, ops.multiply(inputs[0], np.int64(0)), np.int64(0))
    logits.output(0).set_names({"logits"})
    model = openvino.Model([ops.result(logits)], inputs, "zero")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        openvino.save_model(model, path, compress_to_fp16=False)
        return path.read_text(), openvino.Tensor(np.fromfile(path.with_suffix(".bin"), np.uint8))


def _input(name: str, dtype: openvino.Type, shape: list[int]) -> openvino.Node:
    parameter = ops.parameter(shape, dtype, name=name)
    parameter.output(0).set_names({name})
    return parameter
