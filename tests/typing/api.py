from varco_nats.config import NatsEventBusSettings

settings: NatsEventBusSettings = NatsEventBusSettings(durable_name="order-service")
