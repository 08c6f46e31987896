"""What the numbers mean. Pure: no Faust, no Kafka, no clock, no files; time is an argument."""
