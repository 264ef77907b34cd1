"""Channels into files, of any size, and files back into frames."""

from varco_nats_widgets.export._export import ExportResult, Format, export_channels, load

__all__ = ["ExportResult", "Format", "export_channels", "load"]
