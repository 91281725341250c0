"""Policy: what exists (catalog), who may do it (Cedar), and the compiled answer (grant)."""
