"""`gateway init`: files to begin with. Each is commented; nothing that is there is overwritten."""

import sys
from pathlib import Path

MODELS = """\
# The models that this gateway serves:  gateway serve --models models.yaml
# `gateway doctor --models models.yaml` says what is wrong with it. Paths are relative to this file.
models:
  - id: llama-3.1-8b-instruct             # what clients call it
    # aliases: [gpt-4o]                   # what they may call it as well
    tokenizer: ./llama-3.1-tokenizer      # a folder with tokenizer.json, as Hugging Face has it
    triton:
      address: 127.0.0.1:8001             # HOST:PORT of Triton's gRPC endpoint
      # Of several Tritons alike, instead of `address`, one of these (docs/pools.md):
      #   addresses: [gpu-1:8001, gpu-2:8001]
      #   dns: tritons.local:8001
      #   addresses_file: tritons.txt
      # policy: least_work                # how one of several is chosen
      # metrics_port: 8002                # where each tells its metrics, to be read
      model: tensorrt_llm                 # what Triton calls it
      # tls: {ca: ca.crt}                 # to speak TLS, and whom to trust
    # template: llama-3.1                 # the chat template; found out when not given
    # template_kwargs: {}                 # handed to the template below a caller's own
    # tool_parser: llama                  # the form of its calls; follows the template
    max_model_len: 8192                   # tokens of context, where Triton does not publish them
    defaults:                             # what a request gets that does not say
      temperature: 0.6
      top_p: 0.9
      # top_k: 0
      # repetition_penalty: 1.0
    # timeouts: {request_s: 120, first_token_s: 20, token_s: 10}    # 504 for what takes longer
    # limits: {requests_per_minute: 600, tokens_per_minute: 200000, concurrent_requests: 64}
    # admission: {requests: 64, queue: 256, queue_timeout_s: 30}    # at once, of each Triton
    # price: {input: 0.10, output: 0.40, cached: 0.05}    # of a million tokens (docs/traffic.md)
    # lora:                               # adapters that clients can name as models
    #   - {id: pirate, task_id: 1, path: ./pirate-lora}
"""

UNIT = """\
# A systemd unit. Copy it to /etc/systemd/system, then: systemctl enable --now gateway
[Unit]
Description=OpenAI-compatible gateway in front of NVIDIA Triton
After=network-online.target
Wants=network-online.target

[Service]
ExecStart={program} serve --models {models}
# Settings are in docs/settings.md; an address other than the loopback one lets others in.
Environment=GATEWAY_HOST=127.0.0.1
Environment=GATEWAY_PORT=8080
Environment=GATEWAY_LOG_FORMAT=json
DynamicUser=yes
LimitNOFILE=65536
Restart=on-failure
# Longer than GATEWAY_DRAIN_S, which running answers get.
TimeoutStopSec=40
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
"""


class StarterExists(Exception):
    """A file that would be written is there already; the message names it."""


def write_starter(folder: Path) -> list[Path]:
    """Write models.yaml and gateway.service into a folder; return where they are.

    Raises StarterExists, before anything is written, where one of them is there.
    """
    folder = folder.absolute()
    program = Path(sys.prefix, "bin", "gateway")
    unit = UNIT.format(program=program, models=folder / "models.yaml")
    files = {folder / "models.yaml": MODELS, folder / "gateway.service": unit}
    for path in files:
        if path.exists():
            raise StarterExists(f"{path} is there already: choose another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return list(files)
