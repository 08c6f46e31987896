"""Adapters that turn other systems' messages and files into facts."""
