"""A stand-in for the IRIS platform, to rehearse against on any provider, and the demo that shows it at work."""

from clouddirect.sandbox.demo import DemoOrder, DemoOutcome, DemoStep, run_demo
from clouddirect.sandbox.fundus import demo_image
from clouddirect.sandbox.platform import Sandbox

__all__ = ["DemoOrder", "DemoOutcome", "DemoStep", "Sandbox", "demo_image", "run_demo"]
