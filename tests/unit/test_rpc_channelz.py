"""The service that tells of connections and calls, asked by a client of grpc's."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2
from grpc_channelz.v1.channelz_pb2_grpc import ChannelzStub

from gateway.models import Models
from gateway.settings import Settings
from tests.rpc import server


@pytest.fixture
async def channelz() -> AsyncIterator[Any]:
    async with (
        server(Models(), Settings(grpc_channelz=True)) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        yield ChannelzStub(channel)


async def test_the_server_and_its_calls_are_told(channelz: Any) -> None:
    await channelz.GetServers(channelz_pb2.GetServersRequest())
    answer = await channelz.GetServers(channelz_pb2.GetServersRequest())

    [told] = answer.server
    again = await channelz.GetServer(channelz_pb2.GetServerRequest(server_id=told.ref.server_id))
    assert answer.end
    assert (told.data.calls_started, told.data.calls_succeeded) == (2, 1)
    assert told.data.last_call_started_timestamp.seconds > 1_700_000_000
    assert again.server.ref == told.ref and again.server.data.calls_succeeded == 2


async def test_connections_are_told_with_their_peers(channelz: Any) -> None:
    [told] = (await channelz.GetServers(channelz_pb2.GetServersRequest())).server
    request = channelz_pb2.GetServerSocketsRequest(server_id=told.ref.server_id)
    [ref] = (await channelz.GetServerSockets(request)).socket_ref

    request = channelz_pb2.GetSocketRequest(socket_id=ref.socket_id)
    socket = (await channelz.GetSocket(request)).socket

    assert socket.ref.name.startswith("ipv4:127.0.0.1:")
    assert socket.remote.tcpip_address.ip_address == bytes([127, 0, 0, 1])
    assert (socket.data.streams_started, socket.data.messages_received) == (3, 3)
    assert (socket.data.streams_succeeded, socket.data.messages_sent) == (2, 2)


@pytest.mark.parametrize("number", [1, 2**32 + 99], ids=["grpc's", "ours"])
async def test_what_is_not_there_is_not_found(channelz: Any, number: int) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await channelz.GetSocket(channelz_pb2.GetSocketRequest(socket_id=number))

    assert failed.value.code() is grpc.StatusCode.NOT_FOUND


async def test_grpc_tells_of_its_own_server() -> None:
    settings = Settings(grpc_channelz=True, grpc_server="grpc")
    async with (
        server(Models(), settings) as running,
        grpc.aio.insecure_channel(running.address) as channel,
    ):
        assert await channel.unary_unary("/grpc.channelz.v1.Channelz/GetServers")(b"")
