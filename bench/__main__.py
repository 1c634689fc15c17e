"""What the gateway costs beside a naive one, and beside others: one run, order rotated, medians.

python -m bench [--peers [smg dynamo]] [--repeats 5]
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from bench import triton
from bench.contenders import CONTENDERS, MOCK_TRITON, Contender, Running, before, running
from bench.cost import MEASURES, PACE_MS, memory_figures, triton_figures, warm_up
from bench.machine import Machine
from bench.peers import PEERS
from bench.process import allow_many_connections
from bench.results import Results

MODEL_CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
Item = TypeVar("Item")

OUTPUT = Path(__file__).parent / "results"


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--peers", nargs="*", choices=PEERS, help="install and measure these too; none named: all"
    )
    parser.add_argument("--only", default="", help="those whose name has this in it")
    parser.add_argument("--tokenizer", type=Path, help="Llama 3.1's, in its folder")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    allow_many_connections()
    with tempfile.TemporaryDirectory() as folder:
        names = () if options.peers is None else options.peers or PEERS
        contenders = [*CONTENDERS, *(PEERS[name](Path(folder)) for name in names)]
        contenders = [contender for contender in contenders if options.only in contender.name]
        tokenizer = options.tokenizer or llama_tokenizer(Path(folder))
        results = compare(contenders, options.repeats, tokenizer)
    print(results.to_markdown())
    results.write(options.output)


def llama_tokenizer(folder: Path) -> Path:
    """Write Llama 3.1's tokenizer below a folder; return where."""
    import llama_models.llama3

    from build_engine.tokenizer import convert

    tokenizer = folder / "llama-3.1"
    source = Path(llama_models.llama3.__file__).parent / "tokenizer.model"
    convert(source, tokenizer, "llama-3.1")
    # Where it is missing, SMG asks a hub for it again and again and waits five seconds each time.
    (tokenizer / "config.json").write_text(json.dumps(MODEL_CONFIG))
    return tokenizer


def compare(contenders: list[Contender], repeats: int, tokenizer: Path) -> Results:
    """Let all stand at once and take turns, another one first each time.

    So what the machine does besides falls on all alike.
    """
    results = Results(Machine())
    with ExitStack() as standing:
        gateways = {c.name: standing.enter_context(running(c, tokenizer)) for c in contenders}
        for name, gateway in gateways.items():
            results.add(name, memory_figures(gateway))
        over_triton = _over_triton(contenders, tokenizer, standing) if triton.can_run() else {}
        for repeat in range(repeats):
            for measure in MEASURES:
                _take_turns(gateways, measure, repeat, results)
            _take_turns(over_triton, triton_figures, repeat, results)
            print(f"{repeat + 1} of {repeats} repeats done", file=sys.stderr, flush=True)
    results.machine.finish()
    return results


def _over_triton(
    contenders: list[Contender], tokenizer: Path, standing: ExitStack
) -> dict[str, Running]:
    """Start those that speak to Triton before a real one, the same for all."""
    folder = Path(standing.enter_context(tempfile.TemporaryDirectory()))
    server = triton.simulated_triton(folder, tokenizer, PACE_MS / 1000)
    port = standing.enter_context(server)
    speakers = [contender for contender in contenders if contender.worker == MOCK_TRITON]
    gateways = {
        contender.name: standing.enter_context(before(contender, port, tokenizer))
        for contender in speakers
    }
    for gateway in gateways.values():
        warm_up(gateway)
    return gateways


def _take_turns(
    gateways: dict[str, Running],
    measure: Callable[[Running], dict[str, float]],
    repeat: int,
    results: Results,
) -> None:
    for name, gateway in rotated([*gateways.items()], repeat):
        results.add(name, measure(gateway))


def rotated(items: list[Item], by: int) -> list[Item]:
    """Return them all, another one first."""
    first = by % max(1, len(items))
    return items[first:] + items[:first]


if __name__ == "__main__":
    main()
