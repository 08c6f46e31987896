"""Changelog-backed tables of the SKU topology: definitions only, one writer each."""
