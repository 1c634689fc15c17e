"""/admin: what a gateway tells its operators, who need an admin's key."""

import orjson
from fastapi import APIRouter, Request, Response

from gateway.errors import InvalidRequest, NotFound, UsageUnavailable
from gateway.reception import Reception
from gateway.stores import UsageLedger

FORMATS = ("json", "csv")


def admin_routes(reception: Reception) -> APIRouter:
    """Return /admin/usage: what was used, added up, as JSON or CSV."""
    router = APIRouter(prefix="/admin", include_in_schema=False)

    @router.get("/usage")
    async def usage(request: Request) -> Response:
        given = request.query_params
        form = given.get("format", "json")
        if form not in FORMATS:
            raise InvalidRequest("'format' is json or csv.", param="format")
        if reception.ledger is None:
            raise NotFound("No usage is kept here: GATEWAY_USAGE says whether.")
        asked = [given.get(name, "") for name in ("by", "since", "until")]
        return await _answer(reception.ledger, form, *asked)

    return router


async def _answer(ledger: UsageLedger, form: str, by: str, since: str, until: str) -> Response:
    from gateway.traffic.usage_store import UsageError
    from gateway.usage_report import Query, QueryError, as_csv, report

    try:
        query = Query.of(by, since, until)
        rows = await report(ledger.store, query, ledger.prices)
    except QueryError as error:
        raise InvalidRequest(str(error)) from error
    except UsageError as error:
        raise UsageUnavailable(str(error), retry_after_s=5) from error
    if form == "csv":
        return Response(as_csv(rows, query.by), media_type="text/csv")
    return Response(orjson.dumps({"object": "list", "data": rows}), media_type="application/json")
