"""Limits that gateways share through a real Redis: exact, and by their policy when it is gone."""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from gateway.server import free_port
from gateway.traffic.counts import LEASE_MS, Policy, SharedCounts, StoreDown, undone
from gateway.traffic.ledger import SLOT_MS, WINDOW_MS, Demand, Kind, Ledger, Refund, Verdict
from gateway.traffic.redis import RedisStore
from tests.conftest import Figure
from tests.redis_server import RedisProcess, redis_binary, redis_process

pytestmark = pytest.mark.skipif(redis_binary() is None, reason="there is no redis-server here")


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    with redis_process(tmp_path_factory.mktemp("redis")) as running:
        yield running


@asynccontextmanager
async def shared(
    redis: RedisProcess, policy: Policy = Policy.CLOSED, timeout_s: float = 1.0
) -> AsyncIterator[SharedCounts]:
    counts = SharedCounts(RedisStore(redis.url, timeout_s), policy)
    keeping = asyncio.ensure_future(counts.keep())
    try:
        yield counts
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


def unused(name: str) -> str:
    """Return a name that no other test has."""
    return f"{name}:{random.getrandbits(64):x}"


async def test_redis_counts_as_the_ledger_does(redis: RedisProcess) -> None:
    ledger, rng = Ledger(), random.Random(7)
    names = [unused("requests"), unused("tokens"), unused("places")]
    took: list[tuple[list[Demand], Verdict]] = []
    now_ms = 0
    async with shared(redis) as counts:
        for _ in range(300):
            if took and rng.random() < 0.3:
                demands, verdict = took.pop(rng.randrange(len(took)))
                extra = rng.choice([-demands[1].need, 0, 3])
                refunds = [
                    Refund(names[1], Kind.TOKENS, verdict.slot, extra),
                    Refund(names[2], Kind.CONCURRENT, verdict.slot, -1),
                ]
                counts.give(refunds)
                ledger.give("me", refunds, now_ms)
                continue
            need = rng.randrange(1, 12)
            demands = [
                Demand(names[0], Kind.REQUESTS, 150, 1),
                Demand(names[1], Kind.TOKENS, 400, need),
                Demand(names[2], Kind.CONCURRENT, 20, 1),
            ]
            told = await counts.take(demands)
            now_ms = told.slot * SLOT_MS
            expected = ledger.take("me", demands, now_ms)

            assert told.broken == expected.broken
            assert [s.remaining for s in told.states] == [s.remaining for s in expected.states]
            if told.broken < 0:
                took.append((demands, told))


async def test_eight_gateways_share_one_limit_to_the_last_request(
    redis: RedisProcess, figure: Figure
) -> None:
    demand = [Demand(unused("requests"), Kind.REQUESTS, 500, 1)]
    async with AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(shared(redis)) for _ in range(8)]

        async def load(counts: SharedCounts) -> int:
            verdicts = await asyncio.gather(*(counts.take(demand) for _ in range(100)))
            return sum(verdict.broken < 0 for verdict in verdicts)

        granted = sum(await asyncio.gather(*map(load, gateways)))

    figure(f"8 gateways, one limit of 500 a minute, 800 asked at once: {granted} let in")
    assert granted == 500


async def test_a_batch_is_one_step_however_many_ask(redis: RedisProcess) -> None:
    name = unused("tokens")
    async with shared(redis) as counts:
        await counts.take([Demand(name, Kind.TOKENS, 1000, 1)])
        verdicts = await asyncio.gather(
            *(counts.take([Demand(name, Kind.TOKENS, 1000, 10)]) for _ in range(200))
        )

    assert sum(verdict.broken < 0 for verdict in verdicts) == 99


HOLDS_AND_DIES = """
import asyncio, sys
from gateway.traffic.counts import Policy, SharedCounts
from gateway.traffic.ledger import Demand, Kind
from gateway.traffic.redis import RedisStore
async def main():
    counts = SharedCounts(RedisStore(sys.argv[1], 1.0), Policy.CLOSED)
    keeping = asyncio.ensure_future(counts.keep())
    for _ in range(5):
        await counts.take([Demand(sys.argv[2], Kind.CONCURRENT, 5, 1)])
    print("holds", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_gateway_that_is_killed_gives_its_places_back(
    redis: RedisProcess, figure: Figure
) -> None:
    name = unused("places")
    place = [Demand(name, Kind.CONCURRENT, 5, 1)]
    doomed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDS_AND_DIES, redis.url, name), stdout=asyncio.subprocess.PIPE
    )
    async with shared(redis) as counts:
        assert doomed.stdout
        assert await doomed.stdout.readline() == b"holds\n"
        full = await counts.take(place)
        os.kill(doomed.pid, signal.SIGKILL)
        killed_at = time.monotonic()
        while (await counts.take(place)).broken >= 0:
            assert time.monotonic() - killed_at < 3 * LEASE_MS / 1000
            await asyncio.sleep(0.05)
        free_after_s = time.monotonic() - killed_at
        await doomed.wait()

    figure(f"places of a killed gateway were free after {free_after_s:.1f} s")
    assert full.broken == 0


@pytest.mark.parametrize("policy", Policy)
async def test_without_redis_the_policy_decides_and_is_counted(
    policy: Policy, tmp_path: Path
) -> None:
    place = [Demand("places", Kind.CONCURRENT, 4, 1)]
    with redis_process(tmp_path) as own:
        async with shared(own, policy) as counts, shared(own, policy) as other:
            await other.take(place)
            held = await counts.take(place)
            await asyncio.sleep(1.2)  # for one word of each that it lives
            own.stop()
            outcomes = [await outcome(counts, place) for _ in range(4)]
            counts.give(undone(place, held.slot))
            own.start()
            while await outcome(counts, place) != "shared":  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    let_in = {Policy.CLOSED: 0, Policy.OPEN: 4, Policy.LOCAL: 2}
    assert outcomes.count("let in") == let_in[policy]
    assert counts.num_failures >= 4


async def outcome(counts: SharedCounts, place: list[Demand]) -> str:
    failures = counts.num_failures
    try:
        verdict = await counts.take(place)
    except StoreDown:
        return "refused"
    if counts.num_failures == failures:
        return "shared"
    return "let in" if verdict.broken < 0 else "refused"


async def test_a_redis_that_stands_still_keeps_nobody_waiting(tmp_path: Path) -> None:
    demand = [Demand("requests", Kind.REQUESTS, 100, 1)]
    with redis_process(tmp_path) as own:
        async with shared(own, Policy.OPEN, timeout_s=0.2) as counts:
            await counts.take(demand)
            os.kill(own.process.pid, signal.SIGSTOP)
            try:
                verdicts = await asyncio.wait_for(
                    asyncio.gather(*(counts.take(demand) for _ in range(50))), 5
                )
            finally:
                os.kill(own.process.pid, signal.SIGCONT)

    assert all(verdict.broken < 0 for verdict in verdicts)
    assert counts.num_failures == 50


async def test_a_password_is_told_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    store = RedisStore(f"redis://:canary-password@127.0.0.1:{free_port('127.0.0.1', 0)}/0", 1.0)
    counts = SharedCounts(store, Policy.CLOSED)

    with pytest.raises(StoreDown):
        await counts.take([Demand("requests", Kind.REQUESTS, WINDOW_MS, 1)])
    await store.close()

    assert "canary-password" not in repr([store, counts, vars(counts)]) + "".join(
        capfd.readouterr()
    )
