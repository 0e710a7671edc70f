"""The example models: their data, how they are trained, and the bundles they become."""
