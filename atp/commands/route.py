"""`atp route`: who answers which (region, channel), and how legacy mart and product compare before a route moves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO

import msgspec

from atp import topics
from atp.client import Client
from atp.commands import clients
from atp.commands.errors import CommandError, WrongUseError
from atp.commands.lines import Outgoing
from atp.commands.publish import produce
from atp.commands.worker import checked_settings
from atp.domain.routes import Comparison, MartRow, Route, RouteBook, RouteError, parse_route, route_key
from atp.domain.times import rfc3339
from atp.facade.context import route_book
from atp.facade.legacy import MartError, MartKey, read_mart
from atp.settings import Settings

READY_S = 60.0


def list_routes(as_json: bool, out: IO[str]) -> None:
    """Print the routes that were set, and the rule for all others."""
    config = checked_settings()
    book = _book(config)
    rule = {"regions": config.first_region_names, "channels": config.first_channel_names}
    if as_json:
        rows = [route for _, route in sorted(book.items())]
        out.write(msgspec.json.encode({"routes": rows, "product_by_default": rule}).decode() + "\n")
        return
    for route in (route for _, route in sorted(book.items())):
        out.write(f"{route.region}|{route.channel}  {route.answers}  since {route.set_at}  {route.reason}\n")
    out.write(
        f"others: PRODUCT for {', '.join(rule['channels'])} in {', '.join(rule['regions'])}, else LEGACY; "
        "all PRODUCT where no mart is set (ATP_LEGACY_MART)\n"
    )


def set_route(region: str, channel: str, answers: str, reason: str, out: IO[str]) -> None:
    """Say who answers from now on; every replica of the façade follows at once."""
    document = {"region": region, "channel": channel, "answers": answers.upper(), "reason": reason}
    try:
        route = parse_route({**document, "set_at": rfc3339(time.time_ns() // 1_000_000)})
    except RouteError as error:
        raise WrongUseError(str(error)) from None
    send_route(route, checked_settings())
    out.write(f"{region}|{channel} is answered by {route.answers}\n")


def send_route(route: Route, config: Settings) -> None:
    """Publish a route."""
    key, value = route_key(route.region, route.channel), msgspec.json.encode(route)
    produce([Outgoing(topics.ROUTES.name, key, value, None, 1)], config)


def compare(
    mart: Path | None,
    region: str | None,
    channel: str | None,
    as_json: bool,
    out: IO[str],
    at_least: float | None = None,
) -> None:
    """Print agreement, over and under per (region, channel). `at_least`: percent of the keys that must agree."""
    config = checked_settings()
    path = mart or config.legacy_mart
    if path is None:
        raise WrongUseError("--mart = None: the file of the legacy mart is needed, here or in ATP_LEGACY_MART")
    try:
        rows = read_mart(path)
    except MartError as error:
        raise CommandError(str(error)) from None
    with Client(config.bootstrap, config=config.admin()) as client:
        if not client.wait_ready(READY_S):
            raise CommandError(f"broker {config.bootstrap}: {client.status().error or 'not read within a minute'}")
        found = comparisons(rows, product_units(client), _book(config))
    found = [c for c in found if region in (None, c.region) and channel in (None, c.channel)]
    if as_json:
        said = [msgspec.to_builtins(c) | {"compared": c.compared, "agreement": c.agreement} for c in found]
        out.write(msgspec.json.encode({"comparisons": said}).decode() + "\n")
    else:
        out.writelines(_line(one) for one in found)
    if at_least is not None:
        _insist(found, at_least)


def _insist(found: list[Comparison], percent: float) -> None:
    """Raise when mart and product agree on too few keys, or on none that could be compared."""
    if not found:
        raise CommandError("neither mart nor product knows a key of this region and channel")
    for one in found:
        if one.agreement is None or 100 * one.agreement < percent:
            raise CommandError(f"less than {percent:g} % agree: {_line(one).strip()}")


def product_units(client: Client) -> dict[MartKey, int]:
    """What the product lets each channel sell, by (SKU, region, channel)."""
    found = {}
    for held in list(client.view.records.values()):
        for channel in held.record.channels:
            answer = client.sellable(held.record.sku, held.record.region, channel)
            found[answer.sku, answer.region, channel] = answer.sellable
    return found


def comparisons(mart: dict[MartKey, MartRow], product: dict[MartKey, int], routes: RouteBook) -> list[Comparison]:
    """Both sides by (region, channel), in order."""
    found: dict[tuple[str, str], Comparison] = {}
    for key in mart.keys() | product.keys():
        _, region, channel = key
        at = (region, channel)
        if at not in found:
            found[at] = Comparison(region, channel, routes.of(region, channel))
        row = mart.get(key)
        found[at].take(row.sellable if row else None, product.get(key))
    return [found[at] for at in sorted(found)]


def _line(found: Comparison) -> str:
    share = "-" if found.agreement is None else f"{found.agreement:.1%}"
    return (
        f"{found.region}|{found.channel}  {found.answers}  agree {share} of {found.compared}"
        f"  over {found.over} ({found.over_units} units)  under {found.under} ({found.under_units} units)"
        f"  only mart {found.only_mart}  only product {found.only_product}\n"
    )


def _book(config: Settings) -> RouteBook:
    return route_book(clients.documents(config.admin(), topics.ROUTES.name), config)
