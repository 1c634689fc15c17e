"""Several replicas of one model: who takes a generation, and who takes it next."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace

import grpc
import msgspec
import pytest

from gateway.errors import EngineFailure, EngineUnavailable, GatewayError, Overloaded
from gateway.generation import (
    Delta,
    Finished,
    FinishReason,
    Generation,
    Guide,
    GuideKind,
    Item,
    Prompt,
    Sampling,
)
from gateway.triton.channel import Channel
from gateway.triton.contract import Contract, ContractMismatch, read_contract
from gateway.triton.engine import TritonEngine
from gateway.triton.ensemble import Ensemble
from gateway.triton.policies import PolicyName
from gateway.triton.prefixes import Mark
from gateway.triton.replica import NOTHING_COUNTED, Replica
from gateway.triton.replicas import Replicas
from gateway.triton.view import state_of
from gateway.triton.work import Work
from tests.engines import pool
from tests.tritons import FULL, Outcome, ScriptedTriton, standing, tensors_of

GREEDY = Generation(
    Prompt((1, 2, 3), "abc"), max_tokens=6, sampling=Sampling(temperature=0.0), end_ids=(255,)
)
SAMPLED = msgspec.structs.replace(GREEDY, sampling=Sampling(seed=7))
WHOLE = [6, 12, 24, 48, 96, 192]


def contract_of(triton: ScriptedTriton) -> Contract:
    return read_contract(triton._config().config, vocab_size=256)


@asynccontextmanager
async def pooled(
    *tritons: ScriptedTriton,
    policy: PolicyName = "round_robin",
) -> AsyncIterator[tuple[TritonEngine, Sequence[Replica], list[grpc.aio.Server]]]:
    """Yield an engine over Tritons, which take their turns, its replicas, the servers."""
    async with standing(*tritons) as servers:
        members = [Replica(Channel(triton.address), "tensorrt_llm") for triton in tritons]
        replicas = pool(members, contract_of(tritons[0]), policy=policy)
        engine = TritonEngine(replicas)
        try:
            yield engine, members, servers
        finally:
            await engine.close()


async def generated(engine: TritonEngine, generation: Generation) -> list[int]:
    return ids_of([item async for item in engine.generate(generation)])


def ids_of(items: Sequence[Item]) -> list[int]:
    """Return the tokens of an answer that ended as it should."""
    *deltas, finished = items
    assert isinstance(finished, Finished)
    return [id for delta in deltas if isinstance(delta, Delta) for id in delta.token_ids]


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(error=FULL),
        Outcome(error="simulated fault"),
        Outcome(error="Stub process 'tensorrt_llm_0_0' is not healthy."),
        Outcome(num_tokens=0, status=grpc.StatusCode.UNAVAILABLE),
        Outcome(num_tokens=0, status=grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["full", "failed", "stub gone", "unavailable", "no room"],
)
async def test_what_fails_before_its_first_token_goes_elsewhere(outcome: Outcome) -> None:
    first, second = ScriptedTriton([outcome]), ScriptedTriton()

    async with pooled(first, second) as (engine, _, _):
        assert await generated(engine, SAMPLED) == WHOLE

    assert (len(first.asked), len(second.asked)) == (1, 1)


@pytest.mark.parametrize(
    ("outcome", "raised"),
    [
        (Outcome(error="Prompt length (9) exceeds maximum input length (8)"), "maximum context"),
        (Outcome(num_tokens=0, status=grpc.StatusCode.DEADLINE_EXCEEDED), "in time"),
        (Outcome(error="invalid guide: no"), "grammar"),
    ],
    ids=["too long", "out of time", "bad guide"],
)
async def test_what_would_fail_anywhere_is_not_repeated(outcome: Outcome, raised: str) -> None:
    first, second = ScriptedTriton([outcome]), ScriptedTriton()
    guided = msgspec.structs.replace(SAMPLED, guide=Guide(GuideKind.REGEX, "a"))

    async with pooled(first, second) as (engine, _, _):
        with pytest.raises(GatewayError, match=raised):
            await generated(engine, guided)

    assert len(second.asked) == 0


async def test_a_full_queue_is_told_as_such_once_all_are_full() -> None:
    tritons = [ScriptedTriton([Outcome(error=FULL)] * 9) for _ in range(3)]

    async with pooled(*tritons) as (engine, _, _):
        with pytest.raises(Overloaded):
            await generated(engine, SAMPLED)

    assert [len(triton.asked) for triton in tritons] == [1, 1, 1]


async def test_a_generation_that_fails_engines_meets_two_of_them_at_most() -> None:
    tritons = [ScriptedTriton([Outcome(error="simulated fault")] * 9) for _ in range(4)]

    async with pooled(*tritons) as (engine, _, _):
        with pytest.raises(EngineFailure):
            await generated(engine, SAMPLED)

    assert sum(len(triton.asked) for triton in tritons) == 2


async def test_a_replica_whose_connection_is_lost_is_passed_over_at_once() -> None:
    tritons = [ScriptedTriton(), ScriptedTriton()]

    async with pooled(*tritons) as (engine, members, servers):
        await servers[0].stop(0)
        answers = [await generated(engine, SAMPLED) for _ in range(4)]

        assert answers == [WHOLE] * 4
        assert [state_of(one) for one in members] == ["suspect", "serving"]


@pytest.mark.parametrize("num_tokens", range(1, 6))
async def test_a_greedy_answer_goes_on_elsewhere_as_if_nothing_had_happened(
    num_tokens: int,
) -> None:
    lost = Outcome(num_tokens=num_tokens, status=grpc.StatusCode.UNAVAILABLE)
    first, second = ScriptedTriton([lost]), ScriptedTriton()

    async with pooled(first, second) as (engine, _, _):
        items = [item async for item in engine.generate(GREEDY)]

    assert ids_of(items) == WHOLE
    assert items[-1] == Finished((FinishReason.LENGTH,))
    raw = tensors_of(second.asked[0])
    assert len(raw["input_ids"]) == 4 * (3 + num_tokens)


async def test_an_answer_whose_last_word_alone_was_lost_is_not_asked_for_again() -> None:
    ended = Outcome(num_tokens=5, status=grpc.StatusCode.UNAVAILABLE)
    generation = msgspec.structs.replace(GREEDY, end_ids=(96,))
    first, second = ScriptedTriton([ended]), ScriptedTriton()

    async with pooled(first, second) as (engine, _, _):
        items = [item async for item in engine.generate(generation)]

    assert ids_of(items) == WHOLE[:4]
    assert items[-1] == Finished((FinishReason.STOP,))
    assert not second.asked


@pytest.mark.parametrize(
    "generation",
    [
        SAMPLED,
        msgspec.structs.replace(GREEDY, sampling=Sampling(temperature=0, presence_penalty=1)),
        msgspec.structs.replace(GREEDY, bad_words=((9, 9),)),
    ],
    ids=["sampled", "penalised", "with bad words"],
)
async def test_any_other_answer_ends_with_the_stated_error(generation: Generation) -> None:
    lost = Outcome(num_tokens=2, status=grpc.StatusCode.UNAVAILABLE)
    first, second = ScriptedTriton([lost]), ScriptedTriton()

    async with pooled(first, second) as (engine, _, _):
        with pytest.raises(EngineUnavailable):
            await generated(engine, generation)

    assert not second.asked


async def test_what_waits_at_a_hung_replica_moves_and_what_has_begun_stays() -> None:
    first = ScriptedTriton([Outcome(num_tokens=1, hangs=True), Outcome(num_tokens=0, hangs=True)])
    second = ScriptedTriton()

    async with pooled(first, second) as (engine, members, _):
        begun = engine.generate(SAMPLED)
        await anext(begun)
        members[1].drain(True)
        waiting = asyncio.ensure_future(generated(engine, SAMPLED))
        for _ in range(2):
            await first.arrivals.get()
        members[1].drain(False)

        members[0].retire("The engine stands still.")
        moved = members[0].fail_open("The engine stands still.", only_waiting=True)

        assert (moved, await waiting) == (1, WHOLE)
        assert members[0].num_open == 1
        await begun.aclose()


async def test_a_replica_that_fails_again_and_again_is_ejected_but_never_the_last() -> None:
    tritons = [ScriptedTriton([Outcome(error="simulated fault")] * 99) for _ in range(2)]

    async with pooled(*tritons) as (engine, members, _):
        for _ in range(30):
            with pytest.raises(EngineFailure):
                await generated(engine, SAMPLED)

        assert sorted(state_of(one) for one in members) == ["ejected", "serving"]


async def test_a_drained_replica_is_asked_for_nothing_even_where_it_is_the_last() -> None:
    tritons = [ScriptedTriton(), ScriptedTriton()]

    async with pooled(*tritons) as (engine, members, _):
        members[0].drain(True)
        await generated(engine, SAMPLED)
        members[1].drain(True)
        with pytest.raises(EngineUnavailable, match="drained"):
            await generated(engine, SAMPLED)

    assert (len(tritons[0].asked), len(tritons[1].asked)) == (0, 1)


async def test_what_a_pool_can_do_is_what_all_of_it_can() -> None:
    able = ScriptedTriton(max_seq_len="4096")
    able.inputs |= {"bad_words_list", "stop_words_list"}
    plain = ScriptedTriton(max_seq_len="1024")
    plain.inputs |= {"stop_words_list"}
    members = [Replica(Channel("127.0.0.1:1"), "m") for _ in range(2)]
    replicas = Replicas(members=members)

    replicas.admit(members[0], contract_of(able), "a")
    replicas.admit(members[1], contract_of(plain), "b")

    assert (replicas.max_model_len, replicas.version) == (1024, "a | b")
    assert replicas.features == contract_of(plain).features
    await asyncio.gather(*(one.channel.close() for one in members))


async def test_a_replica_of_another_kind_is_refused_by_name() -> None:
    members = [Replica(Channel(f"127.0.0.1:{port}"), "m") for port in (1, 2)]
    replicas = Replicas(members=members)
    replicas.admit(members[0], contract_of(ScriptedTriton()), "a")

    text = Ensemble("m", frozenset(), 100, adds_special_tokens=True)
    with pytest.raises(ContractMismatch, match=r"127\.0\.0\.1:2 is of another kind"):
        replicas.admit(members[1], text, "a")

    await asyncio.gather(*(one.channel.close() for one in members))


@pytest.mark.parametrize(
    ("told", "is_refused"),
    [("a" * 64, False), ("b" * 64, True), ("${tokenizer_sha256}", False), (None, False)],
    ids=["the same", "another", "left open", "untold"],
)
async def test_a_replica_with_another_tokenizer_is_refused_by_name(
    told: str | None, is_refused: bool
) -> None:
    members = [Replica(Channel(f"127.0.0.1:{port}"), "m") for port in (1, 2)]
    replicas, plain = Replicas(members=members), contract_of(ScriptedTriton())
    replicas.admit(members[0], replace(plain, parameters={"tokenizer_sha256": "a" * 64}), "a")
    second = replace(plain, parameters={"tokenizer_sha256": told} if told else {})

    expected = pytest.raises(ContractMismatch, match=r"127\.0\.0\.1:2 has another tokenizer")
    with expected if is_refused else nullcontext():
        replicas.admit(members[1], second, "a")

    await asyncio.gather(*(one.channel.close() for one in members))


async def test_a_prompt_goes_where_it_was_and_what_was_reused_of_it_is_told() -> None:
    tritons = [
        ScriptedTriton([Outcome(reused_blocks=blocks) for blocks in (0, 5, 0)]) for _ in range(2)
    ]
    for triton in tritons:
        triton.outputs.add("kv_cache_reused_blocks")
    prompt = Prompt((*range(189), 255, *range(10)), "")
    chat = msgspec.structs.replace(GREEDY, prompt=prompt)

    async with pooled(*tritons, policy="prefix") as (engine, members, _):
        for _ in range(3):
            await generated(engine, chat)
        views = engine.replicas.views()

    asked = [len(triton.asked) for triton in tritons]
    assert sorted(asked) == [0, 3]
    view = views[asked.index(3)]
    assert (view.predicted_reuse_tokens, view.told_reuse_tokens) == (2 * 190, 5 * 32)
    assert members[asked.index(3)].load.trust < 1


async def test_what_a_replica_should_have_of_a_prompt_is_no_work_ahead() -> None:
    members = [Replica(Channel(f"127.0.0.1:{port}"), "m") for port in (1, 2)]
    replicas = Replicas(members=members)
    for member in members:
        member.restore()
    marks = (Mark(900, 7),)
    route = replicas.route(Work(1000, 10, marks))
    call = replicas.open(route, members[0], NOTHING_COUNTED, is_streamed=True)
    replicas.leave(route, members[0], call, None)

    again = [replicas.route(Work(1000, 10, marks)) for _ in members]
    calls = [
        replicas.open(route, member, NOTHING_COUNTED, is_streamed=True)
        for route, member in zip(again, members, strict=True)
    ]

    assert [member.load.waiting_prompt_tokens for member in members] == [100, 1000]
    for route, member, call in zip(again, members, calls, strict=True):
        replicas.leave(route, member, call, None)
    assert [member.load.waiting_prompt_tokens for member in members] == [0, 0]
    await asyncio.gather(*(one.channel.close() for one in members))


async def test_a_session_goes_where_it_was_though_its_prompt_is_another() -> None:
    tritons = [ScriptedTriton() for _ in range(3)]
    talks = [
        msgspec.structs.replace(SAMPLED, prompt=Prompt((turn, 7), ""), session="agent")
        for turn in range(4)
    ]

    async with pooled(*tritons, policy="prefix") as (engine, _, _):
        for talk in talks:
            await generated(engine, talk)

    assert sorted(len(triton.asked) for triton in tritons) == [0, 0, 4]
