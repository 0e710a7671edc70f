"""Management API, access, and the protocol's server-level endpoints."""
