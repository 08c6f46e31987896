"""The daily ledger outside the domain: facts gathered, days as columns, files written once and proven again."""
