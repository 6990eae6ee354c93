"""The fixtures of the Azure tests, from a module for each of the two services."""

from unit.azure.blob_fixtures import blob_server, blobs, secure_blobs
from unit.azure.bus_fixtures import bus, bus_brokers, bus_certificates

__all__ = ["blob_server", "blobs", "bus", "bus_brokers", "bus_certificates", "secure_blobs"]
