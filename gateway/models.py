"""The models as clients know them: an id, an engine, how prompts and answers are made."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from gateway.engine import Engine, Feature
from gateway.errors import EngineUnavailable, ModelNotFound, UnsupportedParameter
from gateway.generation import Lora
from gateway.output.vocabulary import Vocabulary
from gateway.prompt.context import Context
from gateway.prompt.renderer import PromptRenderer
from gateway.prompt.tokenizer import Tokenizer
from gateway.telemetry.lengths import LengthTrace
from gateway.traffic.admission import Admission
from gateway.traffic.caller import NO_LIMITS, Limits, caller
from gateway.visit import Planned, visit

COUNTABLE = 4
"""The contexts that text may fill, or ids, that are only turned into each other."""


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What a request that does not say gets."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Model:
    """Everything one model needs to answer. `created` is in Unix seconds.

    With `lora` it is an adapter over the model that `parent` names.
    """

    id: str
    engine: Engine
    tokenizer: Tokenizer
    renderer: PromptRenderer
    vocabulary: Vocabulary
    tool_parser: str
    created: int
    fingerprint: str
    owned_by: str = "triton"
    aliases: tuple[str, ...] = ()
    defaults: SamplingDefaults = field(default_factory=SamplingDefaults)
    lora: Lora | None = None
    parent: str | None = None
    lengths: LengthTrace | None = None
    limits: Limits = NO_LIMITS
    admission: Admission | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What clients may call it."""
        return (self.id, *self.aliases)

    @property
    def max_model_len(self) -> int:
        return self.engine.max_model_len

    async def admit(self, answers: Sequence[Planned]) -> None:
        """Take of the limits of caller and model what answers may need. Raises what refuses them.

        An adapter shares the limits of its base.
        """
        if here := visit.get():
            await here.admit(self.id, self.parent or self.id, self.limits, answers)
            here.admission = self.admission

    def context(self, param: str) -> Context:
        """Return what a prompt that is given as `param` has to fit."""
        return Context(self.max_model_len, param)

    def countable(self, param: str) -> Context:
        """Return what a prompt has to fit that is only to be counted: some contexts' worth."""
        return Context(COUNTABLE * self.max_model_len, param)

    def require(self, feature: Feature, param: str) -> None:
        """Raise UnsupportedParameter naming `param` unless the engine has the feature."""
        if feature not in self.engine.features:
            raise UnsupportedParameter(
                f"{param!r} needs {feature.value}, which the engine of model {self.id!r} "
                "does not offer.",
                param=param,
            )


class Models:
    """The models of one gateway, by id and by alias; those not connected yet have a reason."""

    def __init__(self, models: Iterable[Model] = ()) -> None:
        self._by_name: dict[str, Model] = {}
        self._waiting: dict[str, str] = {}
        for model in models:
            self.add(model)

    def __iter__(self) -> Iterator[Model]:
        return iter({model.id: model for model in self._by_name.values()}.values())

    def add(self, model: Model) -> None:
        """Take a model into service under its id and its aliases, in place of one with that id.

        Raises ValueError for a name that another model has.
        """
        for name in model.names:
            held = self._by_name.get(name)
            if held and held.id != model.id:
                raise ValueError(f"two models are called {name!r}: {held.id!r} and {model.id!r}")
        for name in model.names:
            self._by_name[name] = model
            self._waiting.pop(name, None)

    def expect(self, names: Iterable[str], reason: str) -> None:
        """Remember why the model of these names cannot serve yet."""
        for name in names:
            if name not in self._by_name:
                self._waiting[name] = reason

    def remove(self, names: Iterable[str]) -> None:
        """Let no more requests find these names; answers under way go on."""
        for name in names:
            self._by_name.pop(name, None)
            self._waiting.pop(name, None)

    def shown(self) -> list[Model]:
        """Return the models that the caller may use."""
        who = caller.get()
        return [model for model in self if who.may_use(model.names)]

    def find(self, name: str) -> Model:
        """Return the model by that id or alias.

        Raises ModelNotFound, also for one that is not for the caller, or EngineUnavailable for one
        that is still expected.
        """
        who = caller.get()
        model = self._by_name.get(name)
        if model and who.may_use(model.names):
            return model
        if name in self._waiting and who.may_use((name,)):
            raise EngineUnavailable(f"The model {name!r} is not ready yet.", retry_after_s=5)
        raise ModelNotFound(f"The model {name!r} does not exist.", param="model")

    async def check_ready(self) -> None:
        """Raise EngineUnavailable with the reason unless there are models and all can serve."""
        if not self._by_name and not self._waiting:
            raise EngineUnavailable("There is no model yet.", retry_after_s=5)
        for name, reason in self._waiting.items():
            raise EngineUnavailable(f"The model {name!r} is not ready: {reason}", retry_after_s=5)
        for model in self:
            await model.engine.check_ready()
