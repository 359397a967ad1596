//! A thin client of the EventStoreDB/KurrentDB gRPC protocol.
