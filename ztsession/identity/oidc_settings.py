"""The settings of ``[oidc]`` in ``identity.toml``: which issuers are believed, and where their keys are.

    [oidc."https://login.firm.example"]      # as in the tokens' iss
    audience = "ztsession"                   # one of the tokens' aud
    jwks_url = "https://login.firm.example/jwks"   # or jwks = "jwks.json", a file of this directory
    algorithms = ["ES256"]                   # default; asymmetric ones only
    typ = "at+jwt"                           # default, or "JWT"
    leeway_s = 30                            # default, at most 300
    max_lifetime_s = 86400                   # default; exp - iat

    [oidc."https://login.firm.example".assurance]
    "urn:firm:hardware-key" = 3              # acr = level from 1 to 3

An issuer decides who everybody is, so nothing about one is guessed: no discovery, no algorithm that was not
listed, and keys from the one place that is named here.
"""

from __future__ import annotations

from pathlib import Path
from weakref import WeakValueDictionary

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.identity.jwks import ALGORITHMS, JWKS_MAX_BYTES, FixedJwks, JwksCache, KeySource, read_jwks
from ztsession.identity.oidc_issuer import OidcIssuer
from ztsession.identity.oidc_name import is_issuer
from ztsession.wire.operator_file import Table

__all__ = ["read_algorithms", "read_issuers", "read_keys"]

#: The keys that verifiers of this process hold now, by issuer and address.
_in_use: WeakValueDictionary[tuple[str, str], JwksCache] = WeakValueDictionary()


def read_issuers(table: Table, directory: Path) -> list[OidcIssuer]:
    """Return the issuers of the table ``[oidc]``, at least one; ``ConfigurationError`` names the place and
    what was expected.
    """
    issuers = [_read_issuer(name, each, directory) for name, each in table.tables()]
    if not issuers:
        raise table.error('expected one table or more, [oidc."https://issuer"]')
    return issuers


def _read_issuer(name: str, table: Table, directory: Path) -> OidcIssuer:
    known = ("audience", "jwks", "jwks_url", "algorithms", "typ", "leeway_s", "max_lifetime_s", "assurance")
    table.allow_only(*known)
    if not is_issuer(name):
        raise table.error("expected the issuer as in its tokens, https://...")
    if not table.text("audience"):
        raise table.error("expected the audience that tokens for this Authority name", "audience")
    return OidcIssuer(
        name,
        table.text("audience"),
        read_keys(name, table, directory),
        read_algorithms(table),
        table.word("typ", ("at+jwt", "JWT")) if table.has("typ") else "at+jwt",
        table.integer("leeway_s", 30, low=0, high=300),
        table.integer("max_lifetime_s", 86400, low=1, high=30 * 86400),
        _read_assurance(table.table("assurance")),
    )


def read_algorithms(table: Table) -> tuple[str, ...]:
    """Return the asymmetric signature algorithms at ``algorithms``, ES256 alone if there is no such key."""
    algorithms = table.texts("algorithms") if table.has("algorithms") else ["ES256"]
    if not algorithms or not set(algorithms) <= ALGORITHMS.keys():
        raise table.error(f"expected some of {', '.join(sorted(ALGORITHMS))}", "algorithms")
    return tuple(algorithms)


def _read_assurance(table: Table) -> dict[str, int]:
    listed = table.keys()
    return {acr: table.integer(acr, 0, low=1, high=3) for acr in listed}


def read_keys(issuer: str, table: Table, directory: Path) -> KeySource:
    """Return the keys at ``jwks_url``, or of the file ``jwks`` in the directory; one must be there."""
    if table.has("jwks") == table.has("jwks_url"):
        raise table.error("expected either jwks, a file of this directory, or jwks_url")
    if table.has("jwks"):
        return _read_key_file(table, directory)
    from ztsession.identity.jwks_fetch import is_fetchable

    url = table.text("jwks_url")
    if not is_fetchable(url):
        raise table.error("expected https://..., or http://127.0.0.1... on this machine", "jwks_url")
    try:
        return _fetched_keys(issuer, url)
    except ConfigurationError as error:
        raise table.error(str(error), "jwks_url") from None


def _fetched_keys(issuer: str, url: str) -> JwksCache:
    from ztsession.identity.jwks_fetch import fetcher

    cache = _in_use.get((issuer, url))
    if cache is None:
        cache = _in_use[issuer, url] = JwksCache(fetcher(url), name=issuer)
    else:
        # Settings that are read again while the issuer is silent must not shut out whoever it vouches for.
        cache.doubt()
    return cache


def _read_key_file(table: Table, directory: Path) -> KeySource:
    name = table.text("jwks")
    path = directory / name
    if path.parent != directory or path.name != name:
        raise table.error("expected the name of a file in this directory", "jwks")
    try:
        with path.open("rb") as source:
            return FixedJwks(read_jwks(source.read(JWKS_MAX_BYTES + 1)))
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", file=str(path)) from None
    except EvidenceError as error:
        raise ConfigurationError(str(error), file=str(path)) from None
