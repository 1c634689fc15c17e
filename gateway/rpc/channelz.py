"""The standard service that tells of connections and calls, for our own server.

Of the connections that grpc itself has, to Triton, grpc tells.
"""

import ipaddress
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_channelz.v1 import channelz_pb2
from grpc_channelz.v1.channelz import aio

from gateway.http2.server.server import Server
from gateway.http2.server.tally import Tally
from gateway.http2.server.transport import Transport

FIRST_ID = 2**32
"""Of our server; its connections have those after it. grpc counts from 1."""


class Channelz(aio.ChannelzServicer):  # type: ignore[misc]
    """Tells of one server."""

    def __init__(self, server: Server, address: str) -> None:
        self._server = server
        self._address = address

    async def GetServers(self, request: Any, context: Any) -> Any:
        servers = [self._told()] if request.start_server_id <= FIRST_ID else []
        return channelz_pb2.GetServersResponse(server=servers, end=True)

    async def GetServer(self, request: Any, context: Any) -> Any:
        await _check(request.server_id == FIRST_ID, context)
        return channelz_pb2.GetServerResponse(server=self._told())

    async def GetServerSockets(self, request: Any, context: Any) -> Any:
        await _check(request.server_id == FIRST_ID, context)
        first, limit = request.start_socket_id, request.max_results or len(self._sockets())
        numbers = sorted(number for number in self._sockets() if number >= first)
        refs = [channelz_pb2.SocketRef(socket_id=number) for number in numbers[:limit]]
        return channelz_pb2.GetServerSocketsResponse(socket_ref=refs, end=len(numbers) <= limit)

    async def GetSocket(self, request: Any, context: Any) -> Any:
        if request.socket_id <= FIRST_ID:
            return await super().GetSocket(request, context)
        transport = self._sockets().get(request.socket_id)
        await _check(transport is not None, context)
        return channelz_pb2.GetSocketResponse(socket=_socket(request.socket_id, transport))

    def _sockets(self) -> dict[int, Transport]:
        return {FIRST_ID + each.number: each for each in self._server.transports}

    def _told(self) -> Any:
        tally = self._server.tally
        data = channelz_pb2.ServerData(
            calls_started=tally.started,
            calls_succeeded=tally.succeeded,
            calls_failed=tally.failed,
            last_call_started_timestamp=_last_started(tally),
        )
        ref = channelz_pb2.ServerRef(server_id=FIRST_ID, name=self._address)
        return channelz_pb2.Server(ref=ref, data=data)


async def _check(is_known: bool, context: Any) -> None:
    if not is_known:
        await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such server or socket.")


def _socket(number: int, transport: Any) -> Any:
    tally = transport.tally
    data = channelz_pb2.SocketData(
        streams_started=tally.started,
        streams_succeeded=tally.succeeded,
        streams_failed=tally.failed,
        messages_sent=transport.messages_sent,
        messages_received=transport.messages_received,
        last_remote_stream_created_timestamp=_last_started(tally),
    )
    ref = channelz_pb2.SocketRef(socket_id=number, name=transport.peer)
    return channelz_pb2.Socket(ref=ref, data=data, remote=_address(transport.peer))


def _address(peer: str) -> Any:
    host, _, port = peer.partition(":")[2].rpartition(":")
    ip = ipaddress.ip_address(host.strip("[]")).packed
    return channelz_pb2.Address(
        tcpip_address=channelz_pb2.Address.TcpIpAddress(ip_address=ip, port=int(port))
    )


def _last_started(tally: Tally) -> Timestamp:
    return Timestamp(seconds=int(tally.last_started))
