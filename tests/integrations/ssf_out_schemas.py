"""The documents of SSF 1.0, CAEP 1.0, RFC 8417, RFC 8936 and RFC 9493 as JSON Schemas, written down from the
specifications alone.
"""

from __future__ import annotations

from typing import Any

import jsonschema
from joserfc import jwt
from joserfc.jwk import KeySet

CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
PUSH, POLL = "urn:ietf:rfc:8935", "urn:ietf:rfc:8936"

TEXT = {"type": "string", "minLength": 1}
SECOND = {"type": "integer", "minimum": 1_000_000_000, "maximum": 9_999_999_999}
HTTPS = {"type": "string", "pattern": "^https://[^?#]+$"}
WORDS = {"type": "object", "minProperties": 1, "propertyNames": {"pattern": "^[a-z]{2}"}}


def exactly(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object of these members and no others."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": False,
    }


OPAQUE = exactly({"format": {"const": "opaque"}, "id": TEXT})
ISS_SUB = exactly({"format": {"const": "iss_sub"}, "iss": HTTPS, "sub": TEXT})
COMPLEX = {
    **exactly({"format": {"const": "complex"}}, {"session": OPAQUE, "user": ISS_SUB, "device": OPAQUE}),
    "minProperties": 2,
}

COMMON = {
    "event_timestamp": SECOND,
    "initiating_entity": {"enum": ["admin", "user", "policy", "system"]},
    "reason_admin": WORDS,
    "reason_user": WORDS,
}
LEVEL = {"enum": ["LOW", "MEDIUM", "HIGH"]}
COMPLIANCE = {"enum": ["compliant", "not-compliant"]}
EVENTS = {
    CAEP + "session-established": exactly(
        {}, {**COMMON, "acr": TEXT, "amr": {"type": "array"}, "ext_id": TEXT, "fp_ua": TEXT}
    ),
    CAEP + "session-revoked": exactly({}, COMMON),
    CAEP + "risk-level-change": exactly(
        {"principal": {"enum": ["USER", "DEVICE", "SESSION", "TENANT"]}, "current_level": LEVEL},
        {**COMMON, "previous_level": LEVEL, "risk_reason": TEXT},
    ),
    CAEP + "assurance-level-change": exactly(
        {"namespace": {"const": "NIST-AAL"}, "current_level": {"pattern": "^nist-aal[123]$"}},
        {
            **COMMON,
            "previous_level": {"pattern": "^nist-aal[123]$"},
            "change_direction": {"enum": ["increase", "decrease"]},
        },
    ),
    CAEP + "device-compliance-change": exactly(
        {"previous_status": COMPLIANCE, "current_status": COMPLIANCE}, COMMON
    ),
    CAEP + "credential-change": exactly(
        {
            "credential_type": TEXT,
            "change_type": {"enum": ["create", "revoke", "update", "delete"]},
        },
        COMMON,
    ),
    SSF + "verification": exactly({}, {"state": {"type": "string"}}),
    SSF + "stream-updated": exactly(
        {"status": {"enum": ["enabled", "paused", "disabled"]}}, {"reason": TEXT}
    ),
}
SET_CLAIMS = {
    **exactly(
        {
            "iss": HTTPS,
            "jti": TEXT,
            "iat": SECOND,
            "aud": {"oneOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 2}]},
            "sub_id": {"oneOf": [OPAQUE, COMPLEX]},
            "events": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "properties": EVENTS,
                "additionalProperties": False,
            },
        },
        {"txn": TEXT},
    ),
    # Neither may ever be in a SET of this framework.
    "not": {"anyOf": [{"required": ["sub"]}, {"required": ["exp"]}]},
}

URIS = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "uri"}, "uniqueItems": True}
DELIVERY = {
    "oneOf": [
        exactly({"method": {"const": PUSH}, "endpoint_url": TEXT}),
        exactly({"method": {"const": POLL}, "endpoint_url": HTTPS}),
    ]
}
STREAM = exactly(
    {
        "stream_id": {"type": "string", "pattern": "^[A-Za-z0-9._~-]+$"},
        "iss": HTTPS,
        "aud": SET_CLAIMS["properties"]["aud"],
        "delivery": DELIVERY,
        "events_delivered": {**URIS, "minItems": 0},
    },
    {
        "events_supported": URIS,
        "events_requested": URIS,
        "min_verification_interval": {"type": "integer", "minimum": 0},
        "description": TEXT,
    },
)
STATUS = exactly({"stream_id": TEXT, "status": {"enum": ["enabled", "paused", "disabled"]}}, {"reason": TEXT})
METADATA = exactly(
    {"issuer": HTTPS, "jwks_uri": HTTPS},
    {
        "spec_version": {"const": "1_0"},
        "delivery_methods_supported": {"type": "array", "items": {"enum": [PUSH, POLL]}, "minItems": 1},
        "configuration_endpoint": HTTPS,
        "status_endpoint": HTTPS,
        "add_subject_endpoint": HTTPS,
        "remove_subject_endpoint": HTTPS,
        "verification_endpoint": HTTPS,
        "authorization_schemes": {
            "type": "array",
            "items": exactly({"spec_urn": {"type": "string", "pattern": "^urn:"}}),
            "minItems": 1,
        },
        "default_subjects": {"enum": ["ALL", "NONE"]},
    },
)
POLLED = exactly(
    {"sets": {"type": "object", "additionalProperties": {"type": "string"}}},
    {"moreAvailable": {"type": "boolean"}},
)
JWKS = exactly(
    {
        "keys": {
            "type": "array",
            "minItems": 1,
            "items": exactly(
                {
                    "kty": {"const": "EC"},
                    "crv": {"const": "P-256"},
                    "x": {"type": "string", "minLength": 43, "maxLength": 43},
                    "y": {"type": "string", "minLength": 43, "maxLength": 43},
                    "kid": TEXT,
                    "use": {"const": "sig"},
                    "alg": {"const": "ES256"},
                }
            ),
        }
    }
)


def check(value: Any, schema: dict[str, Any]) -> Any:
    """The value, if the schema takes it."""
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
    return value


def read_set(token: str, jwks: dict[str, Any]) -> dict[str, Any]:
    """The claims of a SET that joserfc has verified by a published key, and the schema has taken."""
    read = jwt.decode(token, KeySet.import_key_set(check(jwks, JWKS)), algorithms=["ES256"])
    assert read.header.keys() == {"alg", "typ", "kid"}
    assert (read.header["alg"], read.header["typ"]) == ("ES256", "secevent+jwt")
    return dict(check(read.claims, SET_CLAIMS))


def only_event(claims: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The last part of its type, and its members."""
    [(kind, event)] = claims["events"].items()
    return kind.rpartition("/")[2], event
