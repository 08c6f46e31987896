"""`atp acls`: the rights of a role on the broker, as `kafka-acls` commands, as JSON, or created at once."""

from __future__ import annotations

from typing import IO

import msgspec
from confluent_kafka import KafkaException

from atp import access, admin
from atp.commands.errors import CommandError, WrongUseError
from atp.commands.worker import checked_settings


def run(role: str, principal: str | None, apply: bool, as_json: bool, out: IO[str]) -> None:
    """Print or create what a role needs."""
    try:
        party = access.Party(role)
    except ValueError:
        raise WrongUseError(f"ROLE = {role!r}: allowed are {', '.join(access.Party)}") from None
    who = f"User:{role}" if principal is None else principal
    if not who.startswith("User:") or who == "User:":
        raise WrongUseError(f"--principal = {who!r}: User:NAME is allowed")
    grants = access.grants(party)
    if apply:
        create(who, grants)
    if as_json:
        out.write(
            msgspec.json.encode({"principal": who, "applied": apply, "grants": grants_of(grants)}).decode() + "\n"
        )
    elif apply:
        out.write(f"{who} holds the {len(grants)} rights of the role {party}\n")
    else:
        out.writelines(line + "\n" for line in access.kafka_acls(who, grants))


def grants_of(grants: list[access.Grant]) -> list[dict[str, str | bool]]:
    """Rights as JSON objects."""
    return [grant._asdict() for grant in grants]


def create(principal: str, grants: list[access.Grant]) -> None:
    """Create the rights at the broker; those that are there already stay."""
    config = checked_settings()
    try:
        client = admin.client(config.admin())
        admin.partition_counts(client, config.bootstrap)  # tells why nobody answers
        for future in client.create_acls(access.bindings(principal, grants)).values():
            future.result(admin.TIMEOUT_S)
    except admin.BrokerError as error:
        raise CommandError(str(error)) from None
    except KafkaException as error:
        raise CommandError(f"broker {config.bootstrap}: rights cannot be created: {error.args[0].str()}") from None
