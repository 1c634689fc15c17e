"""The watch over TensorRT-LLM's arguments sees what our tables have and a checkout has not."""

import json
import subprocess
from pathlib import Path

import pytest

from bench.upstream import FILES, PLUGINS, Source, commands, watch
from bench.upstream_run import parse
from build_engine.versions import flags_of, release_numbered

RESULTS = json.loads(
    (Path(__file__).parents[2] / "bench" / "results" / "upstream.json").read_text()
)
RELEASE = release_numbered("0.12.0")
PLUGIN = ("gpt_attention_plugin", "gemm_plugin", "lora_plugin")


def script(tool: str) -> str:
    """A script that adds the arguments of our own table."""
    lines = ["import argparse", "import torch", "parser = argparse.ArgumentParser()"]
    for name, flag in flags_of(tool, RELEASE).items():
        if not name.startswith(("use_", "context_", "multiple_", "remove_")) and name not in PLUGIN:
            kind = ", action='store_true'" if flag.is_switch else ", nargs='+'" if flag.many else ""
            choices = f", choices={list(flag.values)!r}" if flag.values else ""
            lines.append(f"parser.add_argument('--{name}'{choices}{kind})")
    if tool == "trtllm-build":
        lines.append("from tensorrt_llm.plugin import add_plugin_argument as add; add(parser)")
    return "\n".join([*lines, "print(torch.__version__, torch.cuda)", "parser.parse_args()"])


PLUGIN_MODULE = """
from typing import Optional
import tensorrt as trt
cli_plugin_args = ["gpt_attention_plugin", "gemm_plugin", "lora_plugin", "context_fmha",
                   "remove_input_padding", "use_paged_context_fmha", "use_fp8_context_fmha",
                   "multiple_profiles"]
DEFAULT_PLUGIN_DTYPE_OPTIONS = ["auto", "float16", "float32", "bfloat16"]
PLUGIN_DTYPE_OPTIONS_MAP = {"gemm_plugin": ["auto", "float16", "float32", "bfloat16", "fp8"]}
class PluginConfig:
    _gpt_attention_plugin: Optional[str] = "auto"
    _gemm_plugin: Optional[str] = None
    _lora_plugin: Optional[str] = None
    _context_fmha: bool = True
    _remove_input_padding: bool = True
    _use_paged_context_fmha: bool = False
    _use_fp8_context_fmha: bool = False
    _multiple_profiles: bool = False
def add_plugin_argument(parser):
    for name in cli_plugin_args:
        default = PLUGIN_DTYPE_OPTIONS_MAP.get(name, DEFAULT_PLUGIN_DTYPE_OPTIONS)
        options = default if name in PLUGIN_DTYPE_OPTIONS_MAP or "_plugin" in name else ["enable"]
        parser.add_argument("--" + name, choices=[*options, "disable"])
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of a TensorRT-LLM 0.12 that takes just what our tables say."""
    texts = {paths[-1]: script(tool) for tool, paths in FILES.items() if "eagle" not in tool}
    texts |= {PLUGINS: PLUGIN_MODULE, "tensorrt_llm/version.py": '__version__ = "0.12.0.dev1"\n'}
    texts["tensorrt_llm/plugin/__init__.py"] = "from .plugin import add_plugin_argument\n"
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    commit(tmp_path, "init", "-q")
    return tmp_path


def commit(folder: Path, *first: str) -> Source:
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (first, ("add", "-A"), (*who, "commit", "-qm", "as it is")):
        if words:
            subprocess.run(["git", *words], cwd=folder, check=True)
    return Source(folder / ".git", "HEAD")


def test_a_checkout_that_takes_what_our_tables_say_has_nothing_wrong(checkout: Path) -> None:
    found = watch(Source(checkout / ".git", "HEAD"), run=True)

    assert (found.version, found.held_against, found.wrong) == ("0.12.0.dev1", "0.12.0", [])
    assert found.parsed == found.lines > 10
    assert found.not_there == []


CHANGES = {
    "a flag gone": (
        FILES["trtllm-build"][0], "'--max_num_tokens'", "'--tokens'", "no --max_num_tokens",
    ),
    "a value gone": (
        FILES["quantize"][0], "'fp8', 'int8_sq'", "'int8_sq'", "refuses --qformat fp8",
    ),
    "a feature gone": (PLUGINS, '"multiple_profiles"]', "]", "refuses --multiple_profiles"),
    "a plugin's type gone": (
        PLUGINS, '"bfloat16", "fp8"]', '"fp8"]', "--gemm_plugin takes auto, float16, float32, fp8",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_upstream_is_seen(case: str, checkout: Path) -> None:
    name, before, after, message = CHANGES[case]
    text = (checkout / name).read_text()
    assert before in text
    (checkout / name).write_text(text.replace(before, after))

    found = watch(commit(checkout))

    assert any(message in line for line in found.wrong), found.wrong


REFUSED = {
    "a value gone": (*CHANGES["a value gone"][:3], "quantize's parser: argument --qformat"),
    "a flag longer": (
        FILES["trtllm-build"][0], "'--max_num_tokens'", "'--max_num_tokens_and_more'",
        "trtllm-build's parser: takes --max_num_tokens for another",
    ),
    "a number": (
        FILES["convert_checkpoint"][1], "'--output_dir'", "'--output_dir', type=int",
        "convert_checkpoint's parser: argument --output_dir: invalid int value: 'CHECKPOINT'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_parser_of_upstream_refuses_is_told_in_its_words(case: str, checkout: Path) -> None:
    name, before, after, message = REFUSED[case]
    text = (checkout / name).read_text()
    assert before in text
    (checkout / name).write_text(text.replace(before, after))

    found = watch(commit(checkout), run=True)

    assert found.parsed < found.lines
    assert any(message in line for line in found.wrong), found.wrong


def test_a_script_that_ends_before_it_parses_is_an_error(checkout: Path) -> None:
    (checkout / FILES["quantize"][0]).write_text("import argparse\n")

    with pytest.raises(RuntimeError, match="it ended without parsing anything"):
        parse(commit(checkout).git, "HEAD", FILES["quantize"][0], [["--dtype", "auto"]])


# The tags, or the last snapshots before them, and the two of the original example.
NUMBERS = ["0.9.0", "0.10.0", "0.11.0", "0.12.0", "0.13.0", "0.14.0", "0.15.0", "0.16.0"]


@pytest.mark.parametrize("number", NUMBERS)
def test_our_tables_were_held_against_a_release_or_the_last_snapshot_before(number: str) -> None:
    last = [result for result in RESULTS if result["held_against"] == number][-1]

    assert last["wrong"] == []
    assert last["flags"] == sum(len(flags_of(tool, release_numbered(number))) for tool in FILES)
    assert last["parsed"] == last["lines"] == len(list(commands(release_numbered(number))))
