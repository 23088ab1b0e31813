"""TensorFlow Serving's servable lifecycle, fed by Kafka topics."""
