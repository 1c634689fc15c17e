"""Integers as JSON Schema has them: a number without a fraction, written `5` or `5.0`."""

from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


class Whole:
    """Marks an `int` that may also come as a number such as `5.0`; text and booleans may not.

    Source: JSON Schema Validation 2020-12, section 6.1.1: "integer" matches any number with a
    zero fractional part. All of it is compiled: an `int` costs what it cost without.
    """

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        bounded = {**handler(source), "strict": False}
        number = core_schema.union_schema(
            [core_schema.int_schema(strict=True), core_schema.float_schema(strict=True)],
            mode="left_to_right",
            custom_error_type="int_type",
        )
        return core_schema.chain_schema([number, bounded])

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return what the bounded integer has, without how it is read."""
        return handler(schema["steps"][-1])
