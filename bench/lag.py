"""How long a gateway's event loop makes a trivial request wait, seen from outside.

python -m bench.lag URL DELAY_S DURATION_S
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

from bench.client import address

TIMEOUT_S = 60
INTERVAL_S = 0.021
"""Not the 20 ms of a token, lest every request meet the streams at the same moment of a tick."""


def probe(url: str, begin_at: float, end_at: float) -> list[float]:
    """Ask for the models again and again on one open connection; return what each answer took."""
    connection = HTTPConnection(*address(url), timeout=TIMEOUT_S)
    connection.connect()
    took_s, due = [], begin_at
    while due < end_at:
        time.sleep(max(0.0, due - time.monotonic()))
        sent_at = time.monotonic()
        connection.request("GET", "/v1/models")
        connection.getresponse().read()
        now = time.monotonic()
        took_s.append(now - sent_at)
        due = max(due + INTERVAL_S, now)
    connection.close()
    return took_s


@contextmanager
def probing(url: str, delay_s: float, duration_s: float) -> Iterator[list[float]]:
    """Probe from a process of its own; once the block has ended, the list has the seconds."""
    found: list[float] = []
    words = [sys.executable, "-m", "bench.lag", url, str(delay_s), str(duration_s)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        yield found
        said, _ = child.communicate(timeout=TIMEOUT_S)
    found += json.loads(said)


if __name__ == "__main__":
    _, url, delay_s, duration_s = sys.argv
    begin_at = time.monotonic() + float(delay_s)
    print(json.dumps(probe(url, begin_at, begin_at + float(duration_s))))
