"""`build-engine check`: engines and repositories, of this tool or not, told in plain words."""

import contextlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from build_engine.cli import app
from build_engine.errors import BuildError
from build_engine.look_models import look_at, read_config
from build_engine.spec import load_spec, shipped_specs
from tests.stand_ins.model import write_tokenizer
from tests.stand_ins.repository import config_of, write_repository

SPEC = load_spec("llama-3.2-1b")


def write_engine(name: str, folder: Path) -> Path:
    spec = load_spec(name)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config_of(spec)))
    for rank in range(spec.parallel.world_size):
        (folder / f"rank{rank}.engine").write_bytes(b"engine")
    return folder


def told(target: str | Path, kind: str) -> str:
    return "\n".join(found.text for found in look_at(str(target)) if found.kind == kind)


@pytest.mark.parametrize("name", shipped_specs())
def test_an_engine_is_told_for_what_its_spec_made_it(name: str, tmp_path: Path) -> None:
    spec = load_spec(name)
    engine = write_engine(name, tmp_path / "engine")

    what, able = told(engine, "is"), told(engine, "can")

    assert f"built by {spec.tensorrt_llm}" in what and spec.release.container in what
    assert spec.model.shape in what
    assert f"on {spec.parallel.world_size} GPUs (tensor {spec.parallel.tensor}," in what
    assert f"{spec.limits.max_batch_size:,} sequences at once, each of" in able
    assert f"{spec.limits.max_seq_len:,} tokens, prompt and answer" in able
    assert told(engine, "wrong") == (
        "" if spec.plugins.paged_context_fmha
        else "use_paged_context_fmha is off: no prefix is kept, and prompts are read whole"
    )  # fmt: skip


def test_an_engine_with_eagle_is_told_to_be_greedy(tmp_path: Path) -> None:
    engine = write_engine("llama-3-8b-h100-eagle", tmp_path / "engine")

    assert "draft up to 63 tokens by EAGLE, greedily" in told(engine, "can")


def edit(path: str, value: object) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        *parents, last = path.split(".")
        part = content
        for parent in parents:
            part = part[parent]
        part[last] = value
        (folder / "config.json").write_text(json.dumps(content))

    return change


FAULTY: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a rank lost": (lambda f: (f / "rank1.engine").unlink(), "rank1.engine missing or empty"),
    "a rank too many": (lambda f: (f / "rank9.engine").write_bytes(b"x"), "rank9.engine too many"),
    "no pages": (edit("build_config.kv_cache_type", "CONTINUOUS"), "its KV cache is CONTINUOUS"),
    "whole prompts": (
        edit("build_config.plugin_config.use_paged_context_fmha", False), "no prefix is kept",
    ),
    "padded": (edit("build_config.plugin_config.remove_input_padding", False), "needs it on"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTY)
def test_what_is_wrong_with_an_engine_is_told(case: str, tmp_path: Path) -> None:
    damage, message = FAULTY[case]
    engine = write_engine("llama-3.3-70b-fp8-tp2", tmp_path / "engine")

    damage(engine)

    assert message in told(engine, "wrong")
    assert CliRunner().invoke(app, ["check", str(engine)]).exit_code == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = (
    "version", "pretrained_config", "pretrained_config.mapping", "pretrained_config.quantization",
    "pretrained_config.mapping.world_size", "pretrained_config.num_hidden_layers",
    "pretrained_config.logits_dtype", "build_config", "build_config.plugin_config",
    "build_config.max_seq_len", "build_config.max_batch_size", "build_config.kv_cache_type",
    "build_config.max_beam_width", "build_config.speculative_decoding_mode",
    "build_config.plugin_config.lora_plugin",
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(field=st.sampled_from(FIELDS), value=JSON)
def test_whatever_an_engine_says_of_itself_is_told_or_refused(field: str, value: object) -> None:
    with TemporaryDirectory() as folder:
        engine = write_engine("llama-3.2-1b", Path(folder) / "engine")
        edit(field, value)(engine)

        with contextlib.suppress(BuildError):
            assert look_at(str(engine))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("check")
    write_tokenizer(folder)
    write_repository(SPEC, folder, folder / "whole")
    return folder / "whole"


@pytest.fixture
def others(whole: Path, tmp_path: Path) -> Path:
    """The same, as if by another hand: no manifest, no spec."""
    copy = Path(shutil.copytree(whole, tmp_path / "others"))
    for name in ("manifest.json", "engine.yaml"):
        (copy / name).unlink()
    config = copy / "tensorrt_llm" / "config.pbtxt"
    config.write_text(config.read_text().replace(str(whole), str(copy)))
    return copy


def test_a_repository_of_ours_is_known_and_whole(whole: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(whole)])

    assert result.exit_code == 0, result.stdout
    assert "a model repository that build-engine wrote" in result.stdout
    assert "built by 1.2.1: only nvcr.io/nvidia/tritonserver:26.07" in result.stdout
    assert "tensorrt_llm: stream" in result.stdout
    assert "answers bound to a grammar" in result.stdout


def test_a_repository_of_ours_that_was_edited_is_held_against_its_spec(
    whole: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(whole, tmp_path / "copy", copy_function=shutil.copy2))
    (copy / "preprocessing/1/model.py").write_text("import os")

    assert "files: preprocessing/1/model.py is not as it was built" in told(copy, "wrong")


def test_a_repository_of_others_is_read_as_well(others: Path) -> None:
    assert "that build-engine did not write" in told(others, "is")
    assert told(others, "wrong") == ""


SET: dict[str, tuple[str, str, str]] = {
    "prompts come back": (
        'exclude_input_in_output"\n  value: { string_value: "true',
        'exclude_input_in_output"\n  value: { string_value: "false', "so prompts come back",
    ),
    "no streams": ("decoupled: True", "decoupled: False", "is not decoupled"),
    "too many at once": (
        "max_batch_size: 128", "max_batch_size: 256", "batches of 256, but the engine takes 128",
    ),
    "too many beams": (
        'max_beam_width"\n  value: { string_value: "1',
        'max_beam_width"\n  value: { string_value: "4',
        "max_beam_width 4, but the engine has 1",
    ),
    "drafts it has not": ("top_k_top_p", "lookahead", "but the engine drafts by nothing"),
    "another type of logits": (
        'name: "generation_logits"\n    data_type: TYPE_FP32',
        'name: "generation_logits"\n    data_type: TYPE_FP16',
        "logits are TYPE_FP16, but the engine's TYPE_FP32",
    ),
    "an engine elsewhere": ("/tensorrt_llm/1", "/nowhere", "no engine is seen from here"),
    "a block that is not told": (
        'key: "tokens_per_block"', 'key: "blocks"', "counted in blocks of 32",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SET)
def test_what_is_wrong_with_a_repository_is_told(case: str, others: Path) -> None:
    before, after, message = SET[case]
    config = others / "tensorrt_llm" / "config.pbtxt"
    text = config.read_text()
    assert before in text

    config.write_text(text.replace(before, after, 1 if "max_batch" in before else -1))

    assert message in told(others, "wrong")


def test_a_template_that_was_not_filled_in_is_one_line_of_error(others: Path) -> None:
    config = others / "tensorrt_llm" / "config.pbtxt"
    config.write_text(
        re.sub(r"max_batch_size: 128", "max_batch_size: ${batch}", config.read_text())
    )

    result = CliRunner().invoke(app, ["check", str(others)])

    assert result.exit_code == 1
    assert "was not filled in" in result.stderr and "Traceback" not in result.stderr


class Answers(BaseHTTPRequestHandler):
    """Triton's HTTP as far as it is asked: docs/protocol of triton-inference-server/server."""

    answers: ClassVar[dict[str, Any]] = {}

    def do_GET(self) -> None:
        content = json.dumps(self.answers.get(self.path, {})).encode()
        self.send_response(200 if self.path in self.answers else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def answering() -> Iterator[tuple[str, dict[str, Any]]]:
    """The address of a scripted server, and what it answers by path."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Answers.answers
    server.shutdown()
    thread.join()
    server.server_close()
    Answers.answers.clear()


def test_a_triton_that_runs_is_told_model_by_model(
    answering: tuple[str, dict[str, Any]], whole: Path
) -> None:
    url, answers = answering
    config = read_config(whole / "tensorrt_llm" / "config.pbtxt")
    answers |= {
        "/v2": {"name": "triton", "version": "2.71.0"},
        "/v2/repository/index": [
            {"name": "tensorrt_llm", "version": "1", "state": "READY"},
            {"name": "broken", "version": "1", "state": "UNAVAILABLE", "reason": "no engine"},
        ],
        "/v2/models/tensorrt_llm/config": config,
    }

    assert f"Triton 2.71.0 at {url}" in told(url, "is")
    assert "built by 1.2.1" in told(url, "is")
    assert told(url, "wrong") == "broken: UNAVAILABLE no engine"


def test_a_server_that_is_no_triton_is_an_error(answering: tuple[str, dict[str, Any]]) -> None:
    with pytest.raises(BuildError, match="answers 404"):
        look_at(answering[0])


@pytest.mark.parametrize("target", ["/nowhere", "http://127.0.0.1:1"], ids=["folder", "address"])
def test_what_is_nothing_of_the_kind_is_an_error(target: str) -> None:
    with pytest.raises(BuildError, match="http"):
        look_at(target)
