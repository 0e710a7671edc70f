"""The protocol's gRPC messages: `inference.proto`, and what protoc made of it."""

# Of a `ModelInferRequest` on its way from the front to a replica, and of the answer.
MEDIA_TYPE = "application/vnd.handrail.infer+protobuf"
