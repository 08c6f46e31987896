"""Kafka-compatible brokers a person or a test can start with one call, no container engine needed.

`atp.brokers.embedded.EmbeddedBroker` starts at once but knows neither transactions nor compaction;
`atp.brokers.kafka.KafkaCluster` is the real Apache Kafka, one node or several, with faults to order.
"""
