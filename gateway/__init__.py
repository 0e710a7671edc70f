"""The service: serves models on Ray Serve, records every decision, judges from labels."""
