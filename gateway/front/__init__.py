"""The gRPC front: one process per node that turns gRPC calls into requests of the data plane."""
