"""Every way a request can fail, and what the caller is told. Knows no framework.

GatewayError                  status  type                    code                     retry
  ClientError                    (the caller can fix it)
    InvalidRequest               400  invalid_request_error   invalid_value            no
      UnsupportedParameter       400  invalid_request_error   unsupported_parameter    no
      InvalidGuide               400  invalid_request_error   invalid_value            no
      ContextTooLong             400  invalid_request_error   context_length_exceeded  no
    Unauthorized                 401  invalid_request_error   invalid_api_key          no
    Forbidden                    403  invalid_request_error   permission_denied        no
    NotFound                     404  invalid_request_error   not_found                no
      ModelNotFound              404  invalid_request_error   model_not_found          no
    MethodNotAllowed             405  invalid_request_error   method_not_allowed       no
    RequestTimeout               408  invalid_request_error   request_timeout          no
    RequestTooLarge              413  invalid_request_error   request_too_large        no
    HttpRefusal                    (over HTTP alone)
      ForeignOrigin              403  invalid_request_error   foreign_origin           no
      TargetTooLong              414  invalid_request_error   target_too_long          no
      UnsupportedMediaType       415  invalid_request_error   unsupported_media_type   no
      Misdirected                421  invalid_request_error   misdirected_request      no
      HeadersTooLarge            431  invalid_request_error   headers_too_large        no
      UnsupportedVersion         505  invalid_request_error   unsupported_http_version no
  Overloaded                     429  rate_limit_error        overloaded               yes
    RateLimited                  429  rate_limit_error        rate_limit_exceeded      yes
    RequestOverLimit             429  rate_limit_error        rate_limit_exceeded      no
  NoCapacity                     503  server_error            no_capacity              yes
  LimitsUnavailable              503  server_error            limits_unavailable       yes
  UsageUnavailable               503  server_error            usage_unavailable        yes
  TooManyConnections             503  server_error            too_many_connections     yes
  EngineError                    (the gateway's fault, or Triton's)
    EngineUnavailable            503  server_error            engine_unavailable       yes
    EngineTimeout                504  server_error            engine_timeout           no
    EngineFailure                500  server_error            engine_failure           no
"""

from typing import ClassVar

MAX_MESSAGE_CHARS = 1000
"""What a caller sent may stand in a message, and be long."""


class GatewayError(Exception):
    """A failure whose message may be shown to the caller; `detail` is for the log alone.

    `retry` tells whether the same request may succeed later: openai-python repeats 408, 409, 429
    and every 5xx unless the answer says `x-should-retry: false`.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str] = "internal_error"
    grpc_status: ClassVar[str] = "INTERNAL"
    retry: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: float | None = None,
        detail: str = "",
    ) -> None:
        if len(message) > MAX_MESSAGE_CHARS:
            message = f"{message[:MAX_MESSAGE_CHARS]} ..."
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.default_code
        self.retry_after_s = retry_after_s
        self.detail = detail


class ClientError(GatewayError):
    """The caller sent something that will never work."""

    status = 400
    type = "invalid_request_error"
    default_code = "invalid_value"
    grpc_status = "INVALID_ARGUMENT"


class InvalidRequest(ClientError):
    """A parameter is missing, malformed or out of range."""


class UnsupportedParameter(InvalidRequest):
    """A parameter is understood, but this model's engine cannot honour it."""

    default_code = "unsupported_parameter"


class InvalidGuide(InvalidRequest):
    """The engine cannot compile the grammar the answer was to follow."""


class ContextTooLong(InvalidRequest):
    """Prompt and answer together exceed the model's context.

    Told in OpenAI's own words, by which clients such as LiteLLM know it from other errors.
    """

    default_code = "context_length_exceeded"

    @classmethod
    def by_prompt(
        cls, num_tokens: int, max_model_len: int, param: str, counted: str = ""
    ) -> "ContextTooLong":
        """Return the error for a prompt that leaves no room for an answer.

        `counted` says how, as in "at least", where the prompt was not looked at to its end.
        """
        return cls(
            f"This model's maximum context length is {max_model_len} tokens. However, your {param} "
            f"resulted in {counted}{num_tokens} tokens, which leaves no room for a completion. "
            f"Please reduce the length of the {param}.",
            param=param,
        )

    @classmethod
    def by_answer(
        cls, num_tokens: int, max_tokens: int, max_model_len: int, param: str
    ) -> "ContextTooLong":
        """Return the error for a prompt that leaves less room than the answer was to have."""
        return cls(
            f"This model's maximum context length is {max_model_len} tokens. However, you "
            f"requested {num_tokens + max_tokens} tokens ({num_tokens} in the {param}, "
            f"{max_tokens} in the completion). Please reduce the length of the {param} or "
            "completion.",
            param=param,
        )


class Unauthorized(ClientError):
    """No API key, or one that is not known."""

    status = 401
    default_code = "invalid_api_key"
    grpc_status = "UNAUTHENTICATED"


class Forbidden(ClientError):
    """The API key is known, but may not do this."""

    status = 403
    default_code = "permission_denied"
    grpc_status = "PERMISSION_DENIED"


class NotFound(ClientError):
    """There is nothing at this path."""

    status = 404
    default_code = "not_found"
    grpc_status = "NOT_FOUND"


class ModelNotFound(NotFound):
    """No model goes by this id."""

    default_code = "model_not_found"


class MethodNotAllowed(ClientError):
    """The path exists, but not for this HTTP method."""

    status = 405
    default_code = "method_not_allowed"
    grpc_status = "UNIMPLEMENTED"


class RequestTimeout(ClientError):
    """The caller took too long to send its request."""

    status = 408
    default_code = "request_timeout"
    grpc_status = "DEADLINE_EXCEEDED"


class RequestTooLarge(ClientError):
    """The request body exceeds the configured limit."""

    status = 413
    default_code = "request_too_large"


class HttpRefusal(ClientError):
    """What HTTP's own edges refuse; gRPC has others."""


class ForeignOrigin(HttpRefusal):
    """A page of another site sent this with its reader's browser."""

    status = 403
    default_code = "foreign_origin"


class TargetTooLong(HttpRefusal):
    """The request line names a path and query that are longer than any here."""

    status = 414
    default_code = "target_too_long"


class UnsupportedMediaType(HttpRefusal):
    """The body is in a form, or a coding, that is not read here."""

    status = 415
    default_code = "unsupported_media_type"


class Misdirected(HttpRefusal):
    """The request is for a host that this server does not go by."""

    status = 421
    default_code = "misdirected_request"


class HeadersTooLarge(HttpRefusal):
    """The request's headers are too many, or too long."""

    status = 431
    default_code = "headers_too_large"


class UnsupportedVersion(HttpRefusal):
    """The request is in a version of HTTP other than 1.0 and 1.1."""

    status = 505
    default_code = "unsupported_http_version"


class Overloaded(GatewayError):
    """There is no room for this request now."""

    status = 429
    type = "rate_limit_error"
    default_code = "overloaded"
    grpc_status = "RESOURCE_EXHAUSTED"
    retry = True


class RateLimited(Overloaded):
    """A limit of the key, or of the model, is reached."""

    default_code = "rate_limit_exceeded"


class RequestOverLimit(RateLimited):
    """A limit is less than what this request alone needs."""

    retry = False


class NoCapacity(GatewayError):
    """All that a model can serve at once is taken, and so is the queue for it."""

    status = 503
    default_code = "no_capacity"
    grpc_status = "UNAVAILABLE"
    retry = True


class LimitsUnavailable(GatewayError):
    """What limits are counted in cannot be reached, and then nobody is let in."""

    status = 503
    default_code = "limits_unavailable"
    grpc_status = "UNAVAILABLE"
    retry = True


class UsageUnavailable(GatewayError):
    """The database of usage does not answer."""

    status = 503
    default_code = "usage_unavailable"
    grpc_status = "UNAVAILABLE"
    retry = True


class TooManyConnections(GatewayError):
    """As many connections are open as may be."""

    status = 503
    default_code = "too_many_connections"
    grpc_status = "UNAVAILABLE"
    retry = True


class EngineError(GatewayError):
    """The gateway or Triton failed; the request itself may be fine."""


class EngineUnavailable(EngineError):
    """Triton cannot be reached, or its model is not ready."""

    status = 503
    default_code = "engine_unavailable"
    grpc_status = "UNAVAILABLE"
    retry = True


class EngineTimeout(EngineError):
    """The generation outlived its deadline. Repeating it would cost the same again."""

    status = 504
    default_code = "engine_timeout"
    grpc_status = "DEADLINE_EXCEEDED"


class EngineFailure(EngineError):
    """The engine gave up on this generation."""

    default_code = "engine_failure"
