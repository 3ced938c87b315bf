//! Partition logs in Kafka's own file format.
