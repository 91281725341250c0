"""Second factors: one-time codes, WebAuthn authenticators, recovery codes."""
