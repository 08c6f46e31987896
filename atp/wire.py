"""Security of the connections to Kafka: the same settings in the words of each client library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import SecretStr

    from atp.settings import Settings


def check(config: Settings) -> None:
    """ValueError when the security settings do not belong together."""
    if uses_sasl(config) and not (config.sasl_username and config.sasl_password):
        missing = "ATP_SASL_PASSWORD" if config.sasl_username else "ATP_SASL_USERNAME"
        raise ValueError(f"ATP_SECURITY_PROTOCOL = {config.security_protocol}: {missing} is needed")
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        path = getattr(config, name)
        if path is not None and not path.is_file():
            raise ValueError(f"ATP_{name.upper()} = {path}: no such file")
    if config.ssl_keyfile and not config.ssl_certfile:
        raise ValueError("ATP_SSL_KEYFILE: ATP_SSL_CERTFILE is needed")


def uses_sasl(config: Settings) -> bool:
    """Whether clients prove who they are by user and password."""
    return config.security_protocol.startswith("SASL")


def uses_ssl(config: Settings) -> bool:
    """Whether connections are encrypted."""
    return config.security_protocol.endswith("SSL")


def librdkafka(config: Settings) -> dict[str, Any]:
    """For confluent-kafka: the commands, and the worker's look at topics."""
    found: dict[str, Any] = {"security.protocol": config.security_protocol}
    if uses_sasl(config):
        found |= {"sasl.mechanism": config.sasl_mechanism, "sasl.username": config.sasl_username}
        found["sasl.password"] = _shown(config.sasl_password)
    if uses_ssl(config):
        files = {
            "ssl.ca.location": config.ssl_cafile,
            "ssl.certificate.location": config.ssl_certfile,
            "ssl.key.location": config.ssl_keyfile or config.ssl_certfile,
        }
        found |= {name: str(path) for name, path in files.items() if path is not None}
        if config.ssl_key_password is not None:
            found["ssl.key.password"] = _shown(config.ssl_key_password)
    return found


def aiokafka(config: Settings) -> dict[str, Any]:
    """For aiokafka: the lane's consumers and producers."""
    if config.security_protocol == "PLAINTEXT":
        return {}
    found: dict[str, Any] = {"security_protocol": config.security_protocol}
    if uses_sasl(config):
        found |= {"sasl_mechanism": config.sasl_mechanism, "sasl_plain_username": config.sasl_username}
        found["sasl_plain_password"] = _shown(config.sasl_password)
    if uses_ssl(config):
        found["ssl_context"] = _context(config)
    return found


def faust(config: Settings) -> Any:
    """For Faust's own consumer and producer."""
    from faust.auth import SASLCredentials, SSLCredentials

    context = _context(config) if uses_ssl(config) else None
    if uses_sasl(config):
        return SASLCredentials(
            username=config.sasl_username,
            password=_shown(config.sasl_password),
            mechanism=config.sasl_mechanism,
            ssl_context=context,
        )
    return SSLCredentials(context) if context is not None else None


def _context(config: Settings) -> Any:
    from aiokafka.helpers import create_ssl_context

    return create_ssl_context(
        cafile=config.ssl_cafile,
        certfile=config.ssl_certfile,
        keyfile=config.ssl_keyfile,
        password=_shown(config.ssl_key_password) or "",  # never ask on a terminal
    )


def _shown(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
