"""ModelService: which models there are."""

from typing import Any

from gateway.models import Models
from gateway.reception import Reception
from gateway.rpc.answers import model_message
from gateway.rpc.exchange import exchange
from gateway.v1.model_pb2 import GetModelRequest, ListModelsRequest, ListModelsResponse, Model
from gateway.v1.model_pb2_grpc import ModelServiceServicer


class ModelService(ModelServiceServicer):
    """The models of this gateway."""

    def __init__(self, models: Models, reception: Reception) -> None:
        self._models = models
        self._reception = reception

    async def ListModels(self, request: ListModelsRequest, context: Any) -> ListModelsResponse:
        async with exchange("ListModels", request, context, self._reception):
            return ListModelsResponse(
                models=[model_message(model) for model in self._models.shown()]
            )

    async def GetModel(self, request: GetModelRequest, context: Any) -> Model:
        async with exchange("GetModel", request, context, self._reception):
            return model_message(self._models.find(request.id))
